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
	}
	if _, err := privateFolder(dir); err != nil {
		return "", nil, err
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
