package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// orphan is a command whose session was killed. nil is none.
type orphan struct{ pidfd int }

// adopt takes the process up that had the number pid and began then; nil where it is
// gone. A number is given out again, and the handle is of one process alone.
func adopt(pid int, began string) *orphan {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	if now, err := beginning(pid); err != nil || now != began {
		_ = unix.Close(fd) // of no use
		return nil
	}
	return &orphan{pidfd: fd}
}

// foundling takes up the process whose environment began with the task's id, the eldest
// where there are several, which are its children. nil where nobody has it. A command that
// is over, or that cannot be looked into, leaves its eldest child to be found in its stead;
// a user's other processes can pass for it only by bearing the task's id on purpose.
//
// Who is killed between fork and exec leaves none: the kernel's SIGTERM is then pending
// when the program begins, which has not said what it does with one.
func foundling(taskID string) *orphan {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || taskID == "" {
		return nil
	}
	pid, began, since := 0, "", uint64(math.MaxUint64)
	for _, folder := range folders {
		n, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		b, err := beginning(n) // before the environment: a number that is given out again in between is then another's
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), TaskVariable+"="+taskID) {
			continue // of another user, gone, or of another session
		}
		if at, err := strconv.ParseUint(b, 10, 64); err == nil && (at < since || at == since && n < pid) {
			pid, began, since = n, b, at
		}
	}
	if pid == 0 {
		return nil
	}
	return adopt(pid, began)
}

// end waits until the command is over. The kernel has sent it SIGTERM when its
// session was killed; where that does not end it, SIGKILL does after 2 seconds. What
// the command has started is not ended.
func (o *orphan) end() error {
	if o == nil {
		return nil
	}
	defer func() { _ = unix.Close(o.pidfd) }() // no more than a handle
	until := time.Now().Add(EndTime)
	for left := EndTime; left > 0; left = time.Until(until) {
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

// beginning is when a process began, in ticks since the machine did.
func beginning(pid int) (string, error) {
	fields, err := stat(pid)
	if err != nil {
		return "", err
	}
	return fields[19], nil
}

// stat is what proc_pid_stat(5) says of a process, from its state on: ppid is 1, and
// starttime 19.
func stat(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// "pid (name) state ppid ...": the name may have anything in it.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}
