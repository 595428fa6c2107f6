package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keep runs a program to its end, and then ends whatever it has started and left,
// also what has left its process group or session: it is a child subreaper (prctl(2)),
// so all of that becomes its child. SIGTERM goes on to the program's group, which
// is this process's too and has EndTime to end. The status is the program's, 128 and the signal's number where
// a signal ended it. It is the whole of a process of its own: see Command.RunGroup.
//
// What kills this process with SIGKILL first is not kept by it: the program then ends
// with it, and its group is for whoever started this process to end.
func Keep(path string, argv []string) (status int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("becoming a subreaper: %w", err)
	}
	if syscall.Getpgrp() != os.Getpid() {
		if err := syscall.Setpgid(0, 0); err != nil {
			return 0, fmt.Errorf("making a process group: %w", err)
		}
	}
	// Pdeathsig is of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	defer signal.Stop(told)
	cmd := exec.Cmd{Path: path, Args: argv, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", path, err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // ProcessState says how
	select {
	case <-ended:
	case <-told:
		_ = syscall.Kill(0, syscall.SIGTERM) // the group's; told has room for one, and that is enough
		select {
		case <-ended:
		case <-time.After(EndTime):
			_ = cmd.Process.Kill() // it may have ended; what it leaves ends below
			<-ended
		}
	}
	return exitStatus(cmd.ProcessState), endChildren()
}

// endChildren kills the children of this process, and what becomes its child by that,
// until there is none.
func endChildren() error {
	for {
		var none syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &none, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case errors.Is(err, syscall.EINTR) || pid > 0:
			continue
		case err != nil:
			return fmt.Errorf("waiting for what the command left: %w", err)
		}
		if err := killChildren(); err != nil {
			return err
		}
		_, _ = syscall.Wait4(-1, &none, 0, nil) // one of them; the next turn sees how it went
	}
}

// killChildren sends SIGKILL to each child of this process, as proc(5) has them.
func killChildren() error {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("looking for what the command left: %w", err)
	}
	self := strconv.Itoa(os.Getpid())
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(pid); err == nil && fields[1] == self { // otherwise gone, or another's
			_ = syscall.Kill(pid, syscall.SIGKILL) // a child stays one until it is waited for
		}
	}
	return nil
}

// childAttr has the kernel end a command, or its keeper, with SIGTERM where this process is
// killed: what it was served is gone then.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

// guardAttr keeps a terminal's signals from the guard, and those to a group.
func guardAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
