package helper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// What a guard is told, a line each.
const (
	allIsWell   = "done\n"          // by who ends as it should
	commandLine = "command %d %s\n" // the session's command: its number, and when it began
)

// endTime is what a command has from SIGTERM on, where its session was killed.
const endTime = 2 * time.Second

// Abandoned waits until the process at the other end of r is gone, and says whether
// it left without a word: killed, so that its session is for the guard to end, and the
// command, where Session.Guard has told of one.
func Abandoned(r io.Reader) (command *Orphan, abandoned bool) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text()+"\n" == allIsWell {
			return nil, false
		}
		var pid int
		var began string
		if _, err := fmt.Sscanf(lines.Text()+"\n", commandLine, &pid, &began); err == nil {
			command = adopt(pid, began)
		}
	}
	return command, true
}

// guard is a process that outlives this one for a moment, should this one be
// killed. It holds no secret: only a pipe whose other end is here.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File
}

func startGuard(cmd *exec.Cmd) (*guard, error) {
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
	return &guard{cmd: cmd, pipe: w}, nil
}

// leave has the guard do what could not be done here, and does not wait for it.
func (g *guard) leave() error {
	err := g.pipe.Close()
	go func() { _ = g.cmd.Wait() }() // nobody is there to be told
	return err
}

// of tells the guard of the session's command, which nobody has waited for yet.
func (g *guard) of(pid int) error {
	began, err := beginning(pid)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.pipe, commandLine, pid, began)
	return err
}

// dismiss tells the guard that there is nothing to do, and waits for its end.
func (g *guard) dismiss() error {
	_, err := io.WriteString(g.pipe, allIsWell)
	if err = errors.Join(err, g.pipe.Close(), g.cmd.Wait()); err != nil {
		return fmt.Errorf("dismissing the guard: %w", err)
	}
	return nil
}
