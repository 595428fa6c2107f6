//go:build unix

package helper

import (
	"io/fs"
	"os"
	"syscall"
)

// owned says whether a file is owner's, or for self this user's own.
func owned(info fs.FileInfo, owner int) bool {
	if owner == self {
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
