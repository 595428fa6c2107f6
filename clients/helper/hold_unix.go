//go:build unix

package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// holdFolder holds a folder for as long as this process lives, or until free. Unlike
// lockFolder it does not wait.
func holdFolder(dir string) (free func() error, err error) {
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
		return errInUse
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
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	for {
		err := hold(f)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, errInUse) || !wait(ctx, lockPause) {
			_ = f.Close() // of no use
			return nil, fmt.Errorf("locking the folder %s: %w", dir.Name(), err)
		}
	}
}
