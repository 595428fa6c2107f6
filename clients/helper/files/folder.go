package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The permissions that others must not have on a folder: to write, or anything.
const (
	othersWrite fs.FileMode = 0o022
	othersAll   fs.FileMode = 0o077
)

// ErrFolder is a folder that somebody else may have prepared, or can change.
var ErrFolder = errors.New("other users can change what is in it")

// ErrInUse is a folder that another process holds.
var ErrInUse = errors.New("another valetkey uses this folder; name another")

// ours says whether a folder is this user's, or root's, and others have none of the
// permissions in not.
func ours(info fs.FileInfo, not fs.FileMode) bool {
	return info.IsDir() && (owned(info, Self) || owned(info, 0)) && !permits(info, not)
}

// PrivateFolder makes a folder that is this user's alone, 0700, or takes one that
// is. A link is not followed: what it leads to has another purpose.
func PrivateFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err == nil && (!ours(info, othersAll) || !owned(info, Self)) {
		err = fmt.Errorf("%s is no folder that is this user's alone (mode 0700); name another", dir)
	}
	return err
}

// openFolder opens the folder of a file that is for owner, so that nobody exchanges
// it between two looks. What root does for another user it does in no folder that a
// third one can exchange, and through no link: it may be that user's, and lead to
// what root alone can change.
func openFolder(dir string, owner int) (*os.Root, error) {
	if owner == Self || os.Geteuid() != 0 {
		return os.OpenRoot(dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	at, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if name == "" {
			break // the root itself
		}
		next, err := openBelow(at, name, owner)
		if err = errors.Join(err, at.Close()); err != nil {
			return nil, fmt.Errorf("opening the folder %s for user %d: %w", dir, owner, err)
		}
		at = next
	}
	return at, nil
}

// openBelow opens what is a folder, and no link, as it is opened.
func openBelow(at *os.Root, name string, owner int) (_ *os.Root, err error) {
	seen, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, fmt.Errorf("%s is no folder; a link is not followed here: name what it leads to", name)
	}
	next, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, next.Close())
		}
	}()
	info, err := next.Stat(".")
	switch {
	case err != nil:
		return nil, err
	case !os.SameFile(seen, info):
		return nil, fmt.Errorf("%s: %w: it was exchanged", name, ErrFolder)
	case info.Mode()&fs.ModeSticky != 0 && owned(info, 0): // such as /tmp
	case !owned(info, owner) && !ours(info, 0) || permits(info, othersWrite):
		return nil, fmt.Errorf("%s: %w: it is to be root's or user %d's, and chmod go-w", name, ErrFolder, owner)
	}
	return next, nil
}
