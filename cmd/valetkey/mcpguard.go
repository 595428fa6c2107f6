package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"github.com/valetkey/valetkey/clients/helper"
	"github.com/valetkey/valetkey/clients/mcp"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// tasksGuardCmd is what mcp starts beside itself: should it be killed, this closes
// its tasks and removes its folder. People do not call it.
type tasksGuardCmd struct {
	Dir string `arg:""`
}

// tasksGuard is its command line, which asks as this process does.
func (g *globals) tasksGuard(dir string) *exec.Cmd {
	cmd := g.guard("", "")
	cmd.Args = []string{cmd.Args[0], "guard-tasks", dir}
	return cmd
}

func (c *tasksGuardCmd) Run(_ context.Context, g *globals) error {
	if err := conceal(); err != nil { // it has this server's environment
		return err
	}
	// It is told to end by its pipe alone.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	tasks, abandoned := helper.AbandonedTasks(os.Stdin)
	if !abandoned {
		return nil
	}
	left := helper.RemoveShelf(c.Dir)
	if len(tasks) == 0 {
		return left
	}
	// The command's context is over with the first signal; this one is not.
	err := g.call(context.Background(), func(ctx context.Context, cl *valetkey.Client) error {
		errs := make([]error, len(tasks))
		var wg sync.WaitGroup
		for i, id := range tasks {
			wg.Go(func() {
				_, errs[i] = cl.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: id})
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if err := errors.Join(left, err); err != nil {
		return fmt.Errorf("ending what a killed server left: %w", err)
	}
	return nil
}

// keepCmd is what mcp runs commands under. People do not call it.
type keepCmd struct {
	Argv []string `arg:"" passthrough:""`
}

// keeper is its command line, before the file of a program and its arguments.
func keeper() []string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []string{self, "keep", "--"}
}

func (c *keepCmd) Run() error {
	argv := c.Argv
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) < 2 {
		return &usageError{"keep needs the file of a program and its arguments, from its name on"}
	}
	status, err := mcp.Keep(argv[0], argv[1:])
	if err != nil {
		return &statusError{helper.StatusNotExecutable, err}
	}
	if status == 0 {
		return nil
	}
	return &statusError{code: status}
}
