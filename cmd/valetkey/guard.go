package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// guardCmd is what exec and shell start beside the command: should they be killed,
// it closes their task and ends the command. People do not call it.
type guardCmd struct {
	Task string `arg:""`
	Dir  string `arg:""`
}

// tasksGuardCmd is what mcp starts beside itself: should it be killed, this closes
// its tasks and removes its folder. People do not call it.
type tasksGuardCmd struct {
	Dir string `arg:""`
}

// keepCmd is what mcp runs commands under. People do not call it.
type keepCmd struct {
	Argv []string `arg:"" passthrough:""`
}

// self is the path of this program.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// guard is the command line of a guard, which asks as this process does.
func (g *globals) guard(args ...string) *exec.Cmd {
	cmd := exec.Command(self(), args...) //nolint:gosec // this program itself
	cmd.Env = append(os.Environ(), "VALETKEY_ADDR="+g.Broker, "VALETKEY_BROKER_ID="+g.BrokerID, "SPIFFE_ENDPOINT_SOCKET="+g.WorkloadAPI)
	return cmd
}

func (g *globals) sessionGuard(taskID, dir string) *exec.Cmd { return g.guard("guard", taskID, dir) }

func (g *globals) tasksGuard(dir string) *exec.Cmd { return g.guard("guard-tasks", dir) }

// keeper is the command line of a keeper, before the file of a program and its arguments.
func keeper() []string { return []string{self(), "keep", "--"} }

func (c *guardCmd) Run(g *globals) error {
	return proc.GuardSession(os.Stdin, c.Task, func() error {
		if !strings.HasPrefix(filepath.Base(c.Dir), "valetkey-") {
			return nil
		}
		return os.RemoveAll(c.Dir)
	}, g.closeTasks)
}

func (c *tasksGuardCmd) Run(g *globals) error {
	if err := conceal(); err != nil { // it has this server's environment
		return err
	}
	return proc.GuardTasks(os.Stdin, func() error { return serve.RemoveShelf(c.Dir) }, g.closeTasks)
}

// closeTasks closes them for a guard: the command's context is over with the first signal,
// and its own is not.
func (g *globals) closeTasks(ids ...string) error {
	return g.call(context.Background(), func(ctx context.Context, cl *valetkey.Client) error {
		errs := make([]error, len(ids))
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() {
				_, errs[i] = cl.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: id})
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

func (c *keepCmd) Run() error {
	argv := c.Argv
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) < 2 {
		return &usageError{"keep needs the file of a program and its arguments, from its name on"}
	}
	status, err := proc.Keep(argv[0], argv[1:])
	if err != nil {
		return &statusError{proc.StatusNotExecutable, err}
	}
	if status == 0 {
		return nil
	}
	return &statusError{code: status}
}
