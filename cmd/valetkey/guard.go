package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/valetkey/valetkey/clients/helper"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// guardCmd is what exec and shell start beside the command: should they be killed,
// it closes their task and ends the command. People do not call it.
type guardCmd struct {
	Task string `arg:""`
	Dir  string `arg:""`
}

// guard is the command line of a guard, which asks as this process does.
func (g *globals) guard(taskID, dir string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self, "guard", taskID, dir) //nolint:gosec // this program itself
	cmd.Env = append(os.Environ(), "VALETKEY_ADDR="+g.Broker, "VALETKEY_BROKER_ID="+g.BrokerID, "SPIFFE_ENDPOINT_SOCKET="+g.WorkloadAPI)
	return cmd
}

func (c *guardCmd) Run(_ context.Context, g *globals) error {
	// It is told to end by its pipe alone.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	command, abandoned := helper.Abandoned(os.Stdin)
	if !abandoned {
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- command.End() }()
	var left error
	if strings.HasPrefix(filepath.Base(c.Dir), "valetkey-") {
		left = os.RemoveAll(c.Dir)
	}
	// The command's context is over with the first signal; this one is not.
	err := g.call(context.Background(), func(ctx context.Context, cl *valetkey.Client) error {
		_, err := cl.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: c.Task})
		return err
	})
	if err := errors.Join(left, err, <-ended); err != nil {
		return fmt.Errorf("ending what a killed process left: %w", err)
	}
	return nil
}
