package proc

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
	"slices"
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

// Command is a program to run.
type Command struct {
	// Args are the program and its arguments. At least one.
	Args []string
	// Environ is its whole environment.
	Environ []string
	// Dir is where it runs; empty for here.
	Dir string
	// Stdin, Stdout and Stderr are its own; a nil one is the null device. Files are
	// handed on as they are.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Started is told by Run of the process's number once it runs; nil for nobody.
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
	cmd := c.cmd(context.WithoutCancel(ctx), path, c.Args)
	cmd.SysProcAttr = childAttr()
	// Caught before it starts, so that none is lost in between.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	unlock, err := start(cmd)
	if err != nil {
		return statusOf(err), err
	}
	defer unlock()
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
			return ended(cmd, err)
		}
	}
}

// RunGroup runs the program in the file path, as the leader of a process group, to its
// end or that of ctx, which is SIGTERM, and SIGKILL after 2 seconds. What it leaves in the
// group ends with it. keeper is the command line of a program that calls Keep with what
// comes after: under it all that the program has started ends. Empty: what leaves the
// group stays. A status with an error is of a program that did not run.
func (c Command) RunGroup(ctx context.Context, path string, keeper []string) (int, error) {
	args := c.Args
	if len(keeper) > 0 {
		path, args = keeper[0], slices.Concat(keeper, []string{path}, args)
	}
	cmd := c.cmd(ctx, path, args)
	cmd.WaitDelay = keeperWithin
	group(cmd, len(keeper) > 0)
	unlock, err := start(cmd)
	if err != nil {
		return statusOf(err), err
	}
	defer unlock()
	err = cmd.Wait()
	killGroup(cmd) // what it left behind has no access any more
	return ended(cmd, err)
}

func (c Command) cmd(ctx context.Context, path string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args[1:]...) //nolint:gosec // running what it is told is what it is for
	cmd.Args[0] = args[0]
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Environ, c.Dir, c.Stdin, c.Stdout, c.Stderr
	return cmd
}

// start starts a program on this thread, which is to be kept until unlock: the program's
// death signal is for the thread's end.
func start(cmd *exec.Cmd) (unlock func(), err error) {
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		// Such as a script without a first line, or a binary of another machine.
		return nil, fmt.Errorf("starting %s: %w: %w", cmd.Args[0], ErrNotExecutable, err)
	}
	return runtime.UnlockOSThread, nil
}

// ended is the status of a program that was waited for.
func ended(cmd *exec.Cmd, err error) (int, error) {
	if cmd.ProcessState == nil {
		return 1, fmt.Errorf("waiting for %s: %w", cmd.Args[0], err)
	}
	return exitStatus(cmd.ProcessState), nil
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
