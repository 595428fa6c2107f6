package main

import (
	"context"
	"strings"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type grantsCmd struct {
	Grant string `arg:"" optional:"" help:"One grant's id; all of it is shown."`
	Agent string `help:"Only this agent's, by SPIFFE ID."`
	Live  bool   `help:"Only those that have not ended."`
	Limit int32  `help:"At most so many." default:"100"`
}

func (c *grantsCmd) Run(ctx context.Context, g *globals, out *output) error {
	if c.Limit < 1 {
		return &usageError{"--limit must be at least 1"}
	}
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		if c.Grant != "" {
			resp, err := cl.Operator.GetGrant(ctx, &valetkeyv1.GetGrantRequest{GrantId: c.Grant})
			if err != nil {
				return err
			}
			if out.json() {
				return out.message(resp)
			}
			return printGrant(out, resp.GetGrant())
		}
		all, err := c.pages(ctx, cl)
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(all)
		}
		rows := [][]string{{"GRANT", "STATE", "TIER", "SCOPE", "PARAMETERS", "AGENT", "EXPIRES"}}
		for _, g := range all.GetGrants() {
			rows = append(rows, []string{
				g.GetId(), stateName(g.GetState()), tierName(g.GetTier()), g.GetScope(),
				valuesText(g.GetParameters()), g.GetAgentSpiffeId(), when(g.GetExpiresAt()),
			})
		}
		if all.GetNextPageToken() != "" {
			out.say("there are more; raise --limit")
		}
		return out.table(rows)
	})
}

// pages reads on until the limit; a next page token is left where there is more.
func (c *grantsCmd) pages(ctx context.Context, cl *valetkey.Client) (*valetkeyv1.ListGrantsResponse, error) {
	all := &valetkeyv1.ListGrantsResponse{}
	for left := c.Limit; left > 0; {
		resp, err := cl.Operator.ListGrants(ctx, &valetkeyv1.ListGrantsRequest{
			AgentSpiffeId: c.Agent, Live: c.Live, PageSize: min(left, 1000), PageToken: all.GetNextPageToken(),
		})
		if err != nil {
			return nil, err
		}
		all.Grants = append(all.Grants, resp.GetGrants()...)
		all.NextPageToken = resp.GetNextPageToken()
		if all.GetNextPageToken() == "" || len(resp.GetGrants()) == 0 {
			break
		}
		left -= int32(min(len(resp.GetGrants()), 1000))
	}
	return all, nil
}

type revokeCmd struct {
	ID    string `arg:"" help:"A grant's or a task's id."`
	Cause string `required:"" help:"Why, for the record."`
}

func (c *revokeCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		if strings.HasPrefix(c.ID, "task_") {
			resp, err := cl.Operator.RevokeTask(ctx, &valetkeyv1.RevokeTaskRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), TaskId: c.ID, Cause: c.Cause})
			if err != nil {
				return err
			}
			if out.json() {
				return out.message(resp)
			}
			return printEnded(out, resp.GetTask(), resp.GetEndedGrantIds())
		}
		resp, err := cl.Operator.RevokeGrant(ctx, &valetkeyv1.RevokeGrantRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), GrantId: c.ID, Cause: c.Cause})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return printGrant(out, resp.GetGrant())
	})
}

type freezeCmd struct {
	Agent string `arg:"" help:"The agent's SPIFFE ID."`
	Cause string `required:"" help:"Why, for the record."`
}

func (c *freezeCmd) Run(ctx context.Context, g *globals, out *output) error {
	return setFreeze(ctx, g, out, c.Agent, c.Cause, true)
}

type unfreezeCmd struct {
	Agent string `arg:"" help:"The agent's SPIFFE ID."`
	Cause string `required:"" help:"Why, for the record."`
}

func (c *unfreezeCmd) Run(ctx context.Context, g *globals, out *output) error {
	return setFreeze(ctx, g, out, c.Agent, c.Cause, false)
}

func setFreeze(ctx context.Context, g *globals, out *output, agent, cause string, frozen bool) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Operator.SetFreeze(ctx, &valetkeyv1.SetFreezeRequest{
			IdempotencyKey: valetkey.NewIdempotencyKey(), AgentSpiffeId: agent, Frozen: frozen, Cause: cause,
		})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		state := "may ask again"
		if frozen {
			state = "frozen"
		}
		return out.table([][]string{{"agent", clean(agent)}, {"state", state}})
	})
}

type reloadCmd struct{}

func (c *reloadCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Operator.ReloadCatalog(ctx, &valetkeyv1.ReloadCatalogRequest{IdempotencyKey: valetkey.NewIdempotencyKey()})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return out.table([][]string{{"catalog", resp.GetCatalogVersion()}})
	})
}
