package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// The statuses that shells and env(1) leave with for a program that did not run.
const (
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

var (
	// ErrNotFound is a program that is not there: StatusNotFound.
	ErrNotFound = errors.New("program not found")
	// ErrNotExecutable is one that cannot be run: StatusNotExecutable.
	ErrNotExecutable = errors.New("program cannot be run")
)

// Command is a program to run in a session.
type Command struct {
	// Args are the program and its arguments. At least one.
	Args []string
	// Environ is its whole environment, as Session.Environ gives it.
	Environ []string
	// Dir is where it runs; empty for here.
	Dir string
	// Stdin, Stdout and Stderr are its own; a nil one is the null device. Files are
	// handed on as they are.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Started is told the process's number once it runs; nil for nobody.
	Started func(pid int)
}

// Find finds the program as Run will, so that nothing is asked for a command that
// cannot run. It fails with ErrNotFound or ErrNotExecutable.
func (c Command) Find() (string, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return "", fmt.Errorf("no command: %w", ErrNotFound)
	}
	path, err := exec.LookPath(c.Args[0])
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s is in the current folder alone; say ./%s if you mean it: %w", c.Args[0], c.Args[0], ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%s: %w: see its permissions", c.Args[0], ErrNotExecutable)
	default:
		return "", fmt.Errorf("%s: %w: see the spelling and PATH", c.Args[0], ErrNotFound)
	}
}

// Run runs the command to its end and returns its status, which is 128 and the
// signal's number where a signal ended it, as a shell has it. Signals that this
// process gets while it runs go on to the command; SIGINT and the like of a
// terminal that both share have reached it already, and do not. The command's end
// is what ends Run: ctx alone does not.
//
// A status with an error is of a command that did not run: StatusNotFound or
// StatusNotExecutable.
func (c Command) Run(ctx context.Context) (int, error) {
	path, err := c.Find()
	if err != nil {
		return statusOf(err), err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, c.Args[1:]...) //nolint:gosec // running what it is told is what it is for
	cmd.Args[0] = c.Args[0]
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Environ, c.Dir, c.Stdin, c.Stdout, c.Stderr
	cmd.SysProcAttr = childAttr()
	// Its death signal is for the end of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Caught before it starts, so that none is lost in between.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		// Such as a script without a first line, or a binary of another machine.
		err = fmt.Errorf("starting %s: %w: %w", c.Args[0], ErrNotExecutable, err)
		return statusOf(err), err
	}
	if c.Started != nil {
		c.Started(cmd.Process.Pid) // before it is waited for, so that the number is its own
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if !fromTerminal(s) {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-done:
			if cmd.ProcessState == nil {
				return 1, fmt.Errorf("waiting for %s: %w", c.Args[0], err)
			}
			return exitStatus(cmd.ProcessState), nil
		}
	}
}

func statusOf(err error) int {
	if errors.Is(err, ErrNotExecutable) {
		return StatusNotExecutable
	}
	return StatusNotFound
}

func exitStatus(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}
