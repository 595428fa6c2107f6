package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// errInUse is a folder that another process holds.
var errInUse = errors.New("another valetkey uses this folder; name another")

// shelfFiles are what shelves make.
var shelfFiles = []string{"aws-config", "aws-credentials", "home", "*.aws-config", "*.sock", "*.pgpass", "*.pgservice", ".vk-*"}

// Own says whether a file is this process's user's.
func Own(info fs.FileInfo) bool { return owned(info, self) }

// shelfDir makes a folder, or takes one over that a killed shelf has left, and keeps
// others out until free.
func shelfDir(name string) (dir string, free func() error, err error) {
	if name == "" {
		if dir, err = os.MkdirTemp("", "valetkey-"); err != nil {
			return "", nil, err
		}
	} else if dir, err = filepath.Abs(name); err != nil {
		return "", nil, err
	} else if err = os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, err
	}
	return takeShelf(dir)
}

// takeShelf holds a folder of this user's, and clears what a killed shelf has left.
func takeShelf(name string) (dir string, free func() error, err error) {
	if dir, err = filepath.Abs(name); err != nil {
		return "", nil, err
	}
	// A link is not followed: what it leads to has another purpose.
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return "", nil, err
	case !info.IsDir() || !owned(info, self) || info.Mode().Perm()&0o077 != 0:
		return "", nil, fmt.Errorf("%s is no folder that is this user's alone (mode 0700); name another", dir)
	}
	if free, err = holdFolder(dir); err != nil {
		return "", nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := clearShelf(dir); err != nil {
		return "", nil, errors.Join(err, free())
	}
	return dir, free, nil
}

// clearShelf removes what a shelf has left, where there is nothing else.
func clearShelf(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if !ofShelf(e.Name()) {
			return fmt.Errorf("%s has a file that is not ours, %s; name another folder", dir, e.Name())
		}
	}
	for _, e := range all {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func ofShelf(name string) bool {
	for _, p := range shelfFiles {
		if ok, err := filepath.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}
