//go:build unix

package helper

import (
	"io/fs"
	"os"
	"syscall"
)

// owned says whether a file is this user's own.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
