package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Self is the owner of what is this user's own.
const Self = -1

const (
	// tempPrefix begins the names of what is not in its place yet.
	tempPrefix = ".vk-"
	// tempRandom is how many letters of theirs are drawn.
	tempRandom = 10
)

// TempsOf begins the names of what is to become the file of a name, so that what a
// killed process has left of it can be told.
func TempsOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return tempPrefix + hex.EncodeToString(sum[:4]) + "-"
}

// Write replaces a file as a whole, or leaves it as it was: readers see the
// old or the new, never half. It is 0600 from its first byte on, and owner's, which
// takes root where that is not Self. A link, or a file of another user, is not
// replaced; and for another owner none of root's.
func Write(path string, content []byte, owner int) error {
	dir, err := openFolder(filepath.Dir(path), owner)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(replaceIn(dir, filepath.Base(path), content, owner), dir.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func replaceIn(dir *os.Root, name string, content []byte, owner int) (err error) {
	if info, err := dir.Lstat(name); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("there is something that is no file; remove it or name another")
		}
		if !owned(info, owner) {
			return errors.New("the file there is another user's; remove it or name another")
		}
	}
	temp := TempsOf(name) + rand.Text()[:tempRandom]
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Remove(temp))
		}
	}()
	if owner != Self {
		if err := f.Chown(owner, -1); err != nil {
			return errors.Join(fmt.Errorf("giving it to user %d, which takes root: %w", owner, err), f.Close())
		}
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	// Synced, so that a full disk is found out now and not when it is read.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return dir.Rename(temp, name)
}

// Remove removes a file that Write wrote, and that may be gone.
func Remove(path string, owner int) error {
	dir, err := openFolder(filepath.Dir(path), owner)
	if err == nil {
		err = errors.Join(gone(dir.Remove(filepath.Base(path))), dir.Close())
	}
	if err := gone(err); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// OpenPrivate opens a file that is this user's own, 0600 and no link. Whoever else could
// have left it is not to be believed.
func OpenPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noLink|noWait, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !owned(info, Self) || permits(info, othersAll)) {
		err = fmt.Errorf("%s is not this user's alone (mode 0600): it is not believed; remove it", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// gone takes what is not there for removed.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Sweep removes what a killed process has left of a file that it was writing. Who
// writes into it now holds the folder's lock, or is this process.
func Sweep(path string, owner int) (err error) {
	defer func() {
		if err = gone(err); err != nil {
			err = fmt.Errorf("removing what was left of %s: %w", path, err)
		}
	}()
	dir, err := openFolder(filepath.Dir(path), owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	temps, err := fs.Glob(dir.FS(), TempsOf(filepath.Base(path))+"*")
	if err != nil || len(temps) == 0 {
		return err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var errs []error
	for _, name := range temps {
		info, err := dir.Lstat(name)
		if err == nil && info.Mode().IsRegular() && (owned(info, owner) || owned(info, Self)) {
			errs = append(errs, gone(dir.Remove(name)))
		}
	}
	return errors.Join(errs...)
}
