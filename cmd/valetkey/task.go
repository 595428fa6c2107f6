package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type taskCmd struct {
	Open  taskOpenCmd  `cmd:"" help:"Open a task, and print its id."`
	Show  taskShowCmd  `cmd:"" help:"Show a task of yours."`
	Close taskCloseCmd `cmd:"" help:"Close a task, which ends its grants."`
}

type taskOpenCmd struct {
	Purpose     string `arg:"" help:"Why, for people."`
	Environment string `required:"" short:"e" help:"Where, such as production. It is a claim: policies may ask more for it, and allow nothing for it."`
	OnBehalfOf  string `name:"on-behalf-of" help:"Who asked for it."`
}

func (c *taskOpenCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{
			IdempotencyKey: valetkey.NewIdempotencyKey(), Purpose: c.Purpose, Environment: c.Environment, OnBehalfOf: c.OnBehalfOf,
		})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		// The id alone, so that TASK=$(valetkey task open ...) works.
		if _, err := fmt.Fprintln(out.stdout, clean(resp.GetTask().GetId())); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	})
}

type taskShowCmd struct {
	Task string `arg:"" help:"The task's id."`
}

func (c *taskShowCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.GetTask(ctx, &valetkeyv1.GetTaskRequest{TaskId: c.Task})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		t := resp.GetTask()
		return out.table([][]string{
			{"task", t.GetId()}, {"purpose", t.GetPurpose()}, {"environment", t.GetEnvironment()}, {"on behalf of", cmp.Or(t.GetOnBehalfOf(), "-")},
			{"agent", t.GetAgentSpiffeId()}, {"opened", when(t.GetOpenedAt())}, {"closed", when(t.GetClosedAt())},
		})
	})
}

type taskCloseCmd struct {
	Task string `arg:"" help:"The task's id."`
}

func (c *taskCloseCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: c.Task})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return printEnded(out, resp.GetTask(), resp.GetEndedGrantIds())
	})
}

func printEnded(out *output, t *valetkeyv1.Task, grants []string) error {
	ended := "-"
	if len(grants) > 0 {
		ended = strings.Join(grants, " ")
	}
	return out.table([][]string{{"task", t.GetId()}, {"closed", when(t.GetClosedAt())}, {"ended grants", ended}})
}
