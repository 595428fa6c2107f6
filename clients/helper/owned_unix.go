//go:build unix

package helper

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// owned says whether a file is this user's own, or owner's.
func owned(info fs.FileInfo, owner int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(st.Uid) == os.Geteuid() || int(st.Uid) == owner)
}

// lockFolder keeps other agents out while a file is read and replaced. The folder
// itself is locked, so that nothing is left behind.
func lockFolder(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close() // of no use
		return nil, fmt.Errorf("locking the folder %s: %w", dir, err)
	}
	return f.Close, nil
}
