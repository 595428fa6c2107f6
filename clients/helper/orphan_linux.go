package helper

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Orphan is a command whose session was killed. nil is none.
type Orphan struct{ pidfd int }

// adopt takes the process up that had the number pid and began then; nil where it is
// gone. A number is given out again, and the handle is of one process alone.
func adopt(pid int, began string) *Orphan {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	if now, err := beginning(pid); err != nil || now != began {
		_ = unix.Close(fd) // of no use
		return nil
	}
	return &Orphan{pidfd: fd}
}

// End waits until the command is over. The kernel has sent it SIGTERM when its
// session was killed; where that does not end it, SIGKILL does after 2 seconds. What
// the command has started is not ended.
func (o *Orphan) End() error {
	if o == nil {
		return nil
	}
	defer func() { _ = unix.Close(o.pidfd) }() // no more than a handle
	until := time.Now().Add(endTime)
	for left := endTime; left > 0; left = time.Until(until) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(o.pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1) //nolint:gosec // a descriptor
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("waiting for the command: %w", err)
		}
	}
	if err := unix.PidfdSendSignal(o.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the command: %w", err)
	}
	return nil
}

// beginning is when a process began, in ticks since the machine did: starttime of
// proc_pid_stat(5).
func beginning(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// "pid (name) state ppid ...": the name may have anything in it.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[19], nil
}
