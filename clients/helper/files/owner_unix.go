//go:build unix

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// owned says whether a file is owner's, or for Self this user's own.
func owned(info fs.FileInfo, owner int) bool {
	if owner == Self {
		owner = os.Geteuid()
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == owner
}

// permits says whether any of the permissions are given.
func permits(info fs.FileInfo, some fs.FileMode) bool { return info.Mode().Perm()&some != 0 }

// To open no link, and to wait for no pipe's writer.
const (
	noLink = syscall.O_NOFOLLOW
	noWait = syscall.O_NONBLOCK
)

// Hold holds a folder for as long as this process lives, or until free. Unlike
// lockFolder it does not wait.
func Hold(dir string) (free func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := hold(f); err != nil {
		_ = f.Close() // of no use
		return nil, err
	}
	return f.Close, nil
}

func hold(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrInUse
	case err != nil:
		return fmt.Errorf("locking: %w", err)
	}
	return nil
}

const (
	// lockTimeout bounds how long a folder's lock is waited for: whoever can read a
	// folder can hold it.
	lockTimeout = 5 * time.Second
	lockPause   = 5 * time.Millisecond
)

// lockFolder keeps other agents out while something in the folder is replaced. The
// folder itself is locked, so that nothing is left behind.
func lockFolder(dir *os.Root) (unlock func() error, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, fmt.Errorf("locking the folder: %w", err)
	}
	for until := time.Now().Add(lockTimeout); ; <-time.After(lockPause) {
		err := hold(f)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, ErrInUse) || time.Now().After(until) {
			_ = f.Close() // of no use
			return nil, fmt.Errorf("locking the folder %s: %w", dir.Name(), err)
		}
	}
}
