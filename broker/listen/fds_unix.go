//go:build unix

package listen

import "syscall"

// descriptors is how many files this process may have open. Go raises it to the most
// that it may at start.
func descriptors() (limit uint64, known bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true //nolint:unconvert // signed on FreeBSD
}
