package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// What a guard is told, a line each.
const (
	allIsWell   = "done\n"          // by who ends as it should
	commandLine = "command %d %s\n" // the session's command: its number, and when it began
)

const (
	// EndTime is what a command has from SIGTERM on.
	EndTime = 2 * time.Second
	// keeperWithin leaves a keeper that time, and time for what else it ends.
	keeperWithin = EndTime + time.Second
)

// TaskVariable names the task of a session in the environment of its command, for people,
// and for the guard of a session that was killed.
const TaskVariable = "VALETKEY_TASK"

// GuardSession guards a session until the process at the other end of r is gone. Where that
// was killed it ends the command, calls tidy, and closes the task. It is the whole of a
// process of its own, which is told to end by r alone.
func GuardSession(r io.Reader, taskID string, tidy func() error, closeTasks func(ids ...string) error) error {
	ignoreSignals()
	command, killed := abandoned(r, taskID)
	if !killed {
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- command.end() }()
	if err := errors.Join(tidy(), closeTasks(taskID), <-ended); err != nil {
		return fmt.Errorf("ending what a killed process left: %w", err)
	}
	return nil
}

// ignoreSignals leaves those that a terminal or a service manager sends to others.
func ignoreSignals() { signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM) }

// abandoned waits until the process at the other end of r is gone, and says whether
// it left without a word: killed, so that its session is for the guard to end, and the
// command. That is the one that Guard.Of has told of; who was killed before it could
// tell has its command found by the task's id, which is in the command's environment.
func abandoned(r io.Reader, taskID string) (command *orphan, killed bool) {
	lines, told := bufio.NewScanner(r), false
	for lines.Scan() {
		if lines.Text()+"\n" == allIsWell {
			return nil, false
		}
		var pid int
		var began string
		if _, err := fmt.Sscanf(lines.Text()+"\n", commandLine, &pid, &began); err == nil {
			command, told = adopt(pid, began), true
		}
	}
	if !told {
		command = foundling(taskID)
	}
	return command, true
}

// Guard is a process that outlives this one for a moment, should this one be
// killed. It holds no secret: only a pipe whose other end is here.
type Guard struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// StartGuard starts cmd, which is to call GuardSession on its standard input.
func StartGuard(cmd *exec.Cmd) (*Guard, error) {
	// Both ends are closed on exec: the command of the session gets neither.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	cmd.Stdin, cmd.SysProcAttr = r, guardAttr()
	err = cmd.Start()
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the guard: %w", err), w.Close())
	}
	return &Guard{cmd: cmd, pipe: w}, nil
}

// Leave has the guard do what could not be done here, and does not wait for it.
func (g *Guard) Leave() error {
	err := g.pipe.Close()
	go func() { _ = g.cmd.Wait() }() // nobody is there to be told
	return err
}

// Of tells the guard of the session's command, which nobody has waited for yet.
func (g *Guard) Of(pid int) error {
	began, err := beginning(pid)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.pipe, commandLine, pid, began)
	return err
}

// Dismiss tells the guard that there is nothing to do, and waits for its end.
func (g *Guard) Dismiss() error {
	_, err := io.WriteString(g.pipe, allIsWell)
	if err = errors.Join(err, g.pipe.Close(), g.cmd.Wait()); err != nil {
		return fmt.Errorf("dismissing the guard: %w", err)
	}
	return nil
}
