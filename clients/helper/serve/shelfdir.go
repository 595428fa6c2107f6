package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/valetkey/valetkey/clients/helper/files"
)

// shelfFiles are what shelves make.
var shelfFiles = []string{"aws-config", "aws-credentials", "no-kubeconfig", "*.env", "*.sock", "*.pgpass", "*.pgservice", ".vk-*"}

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
	if err := files.PrivateFolder(dir); err != nil {
		return "", nil, err
	}
	if free, err = files.Hold(dir); err != nil {
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

// letGoWithin bounds how long the lock of a killed process stays after its pipes are
// closed: the kernel closes one after the other. letGoPause is between two looks.
const (
	letGoWithin = 2 * time.Second
	letGoPause  = 20 * time.Millisecond
)

// RemoveShelf removes what a killed shelf has left in dir, and dir. It leaves a
// folder alone that has other files in it, or that the next shelf uses already.
func RemoveShelf(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed before the kill
	}
	until := time.Now().Add(letGoWithin)
	found, free, err := shelfDir(dir)
	for errors.Is(err, files.ErrInUse) && time.Now().Before(until) {
		<-time.After(letGoPause)
		found, free, err = shelfDir(dir)
	}
	switch {
	case errors.Is(err, files.ErrInUse):
		return nil
	case err != nil:
		return fmt.Errorf("removing what a killed server left: %w", err)
	}
	return errors.Join(os.Remove(found), free())
}
