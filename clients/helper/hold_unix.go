//go:build unix

package helper

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// holdFolder holds a folder for as long as this process lives, or until free. Unlike
// lockFolder it does not wait.
func holdFolder(dir string) (free func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // of no use
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errInUse
		}
		return nil, fmt.Errorf("locking: %w", err)
	}
	return f.Close, nil
}
