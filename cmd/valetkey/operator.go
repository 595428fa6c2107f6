package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type grantsCmd struct {
	Grant string `arg:"" optional:"" help:"One grant's id; all of it is shown."`
	Mine  bool   `xor:"whose" help:"Your own, as an agent: those that have not ended, or one by its id."`
	Task  string `help:"With --mine, only this task's."`
	Agent string `xor:"whose" help:"Only this agent's, by SPIFFE ID."`
	Live  bool   `help:"Only those that have not ended."`
	Limit int32  `help:"At most so many." default:"100"`
}

func (c *grantsCmd) Run(ctx context.Context, g *globals, out *output) error {
	switch {
	case c.Limit < 1:
		return &usageError{"--limit must be at least 1"}
	case c.Task != "" && !c.Mine:
		return &usageError{"--task is for --mine"}
	case c.Grant != "" && c.Task != "":
		return &usageError{"name a grant or a task"}
	}
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		if c.Grant != "" {
			return c.one(ctx, cl, out)
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
				g.GetId(), g.GetState().Word(), g.GetTier().Word(), g.GetScope(),
				valuesText(g.GetParameters()), g.GetAgentSpiffeId(), when(g.GetExpiresAt()),
			})
		}
		if all.GetNextPageToken() != "" {
			out.say("there are more; raise --limit")
		}
		return out.table(rows)
	})
}

// one shows a grant.
func (c *grantsCmd) one(ctx context.Context, cl *valetkey.Client, out *output) error {
	var resp interface {
		proto.Message
		GetGrant() *valetkeyv1.Grant
	}
	var err error
	if c.Mine {
		resp, err = cl.Agent.GetGrant(ctx, &valetkeyv1.GetGrantRequest{GrantId: c.Grant})
	} else {
		resp, err = cl.Operator.GetGrant(ctx, &valetkeyv1.OperatorServiceGetGrantRequest{GrantId: c.Grant})
	}
	if err != nil {
		return err
	}
	if out.json() {
		return out.message(resp)
	}
	return printGrant(out, resp.GetGrant())
}

// grantsPage is a page of grants, of either service.
type grantsPage interface {
	GetGrants() []*valetkeyv1.Grant
	GetNextPageToken() string
}

func (c *grantsCmd) page(ctx context.Context, cl *valetkey.Client, size int32, token string) (grantsPage, error) {
	if c.Mine {
		return cl.Agent.ListGrants(ctx, &valetkeyv1.ListGrantsRequest{TaskId: c.Task, PageSize: size, PageToken: token})
	}
	return cl.Operator.ListGrants(ctx, &valetkeyv1.OperatorServiceListGrantsRequest{AgentSpiffeId: c.Agent, Live: c.Live, PageSize: size, PageToken: token})
}

// pages reads on until the limit; a next page token is left where there is more.
func (c *grantsCmd) pages(ctx context.Context, cl *valetkey.Client) (*valetkeyv1.ListGrantsResponse, error) {
	const most = 1000 // of one page
	all := &valetkeyv1.ListGrantsResponse{}
	for left := c.Limit; left > 0; {
		resp, err := c.page(ctx, cl, min(left, most), all.GetNextPageToken())
		if err != nil {
			return nil, err
		}
		all.Grants = append(all.Grants, resp.GetGrants()...)
		all.NextPageToken = resp.GetNextPageToken()
		if all.GetNextPageToken() == "" || len(resp.GetGrants()) == 0 {
			break
		}
		left -= int32(min(len(resp.GetGrants()), most))
	}
	return all, nil
}

type revokeCmd struct {
	ID    string `arg:"" optional:"" help:"A grant's or a task's id."`
	Agent string `placeholder:"SPIFFE_ID" xor:"whose" help:"All grants of one agent, or those that one delegate asked for."`
	Path  string `placeholder:"PREFIX" xor:"whose" help:"All grants of agents at or below a path, such as spiffe://example.org/agent/alice, or of a trust domain."`
	Owner string `placeholder:"NAME" xor:"whose" help:"All grants of one person's agents: those with this name where their path has the {user}."`
	Cause string `required:"" help:"Why, for the record."`
}

func (c *revokeCmd) Run(ctx context.Context, g *globals, out *output) error {
	if many := c.Agent + c.Path + c.Owner; (many == "") == (c.ID == "") {
		return &usageError{"name one grant or task by its id, or whose grants with one of --agent, --path and --owner"}
	}
	if c.ID == "" {
		return c.many(ctx, g, out)
	}
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

// many ends all grants of whom the flags name.
func (c *revokeCmd) many(ctx context.Context, g *globals, out *output) error {
	req := &valetkeyv1.RevokeGrantsRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), Cause: c.Cause}
	switch {
	case c.Agent != "":
		req.Whose = &valetkeyv1.RevokeGrantsRequest_AgentSpiffeId{AgentSpiffeId: c.Agent}
	case c.Path != "":
		req.Whose = &valetkeyv1.RevokeGrantsRequest_Path{Path: c.Path}
	default:
		req.Whose = &valetkeyv1.RevokeGrantsRequest_Owner{Owner: c.Owner}
	}
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := untilFinished(out, func() (*valetkeyv1.RevokeGrantsResponse, error) { return cl.Operator.RevokeGrants(ctx, req) })
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return out.table([][]string{{"revoked", grantsText(resp)}})
	})
}

// unfinished is an answer that can come before all is done.
type unfinished interface {
	GetEndedGrants() int64
	GetUnfinished() bool
}

// untilFinished repeats a call, which takes as long as the broker waits, until all that it
// ordered is done. What was ordered goes on if this ends early.
func untilFinished[R unfinished](out *output, call func() (R, error)) (R, error) {
	for {
		resp, err := call()
		if err != nil || !resp.GetUnfinished() {
			return resp, err
		}
		out.say("%s ended so far", grantsText(resp))
	}
}

func grantsText(r unfinished) string {
	if r.GetEndedGrants() == 1 {
		return "1 grant"
	}
	return fmt.Sprintf("%d grants", r.GetEndedGrants())
}

type freezeCmd struct {
	Agent    string `arg:"" help:"The SPIFFE ID of an agent, a delegate or an approver, or a path above such."`
	KeepLive bool   `help:"Only stop what is minted from here on: leave the grants that there are to their deadlines."`
	Cause    string `required:"" help:"Why, for the record."`
}

func (c *freezeCmd) Run(ctx context.Context, g *globals, out *output) error {
	return setFreeze(ctx, g, out, &valetkeyv1.SetFreezeRequest{AgentSpiffeId: c.Agent, Cause: c.Cause, Frozen: true, KeepLive: c.KeepLive})
}

type unfreezeCmd struct {
	Agent string `arg:"" help:"The agent's SPIFFE ID."`
	Cause string `required:"" help:"Why, for the record."`
}

func (c *unfreezeCmd) Run(ctx context.Context, g *globals, out *output) error {
	return setFreeze(ctx, g, out, &valetkeyv1.SetFreezeRequest{AgentSpiffeId: c.Agent, Cause: c.Cause})
}

func setFreeze(ctx context.Context, g *globals, out *output, req *valetkeyv1.SetFreezeRequest) error {
	req.IdempotencyKey = valetkey.NewIdempotencyKey()
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := untilFinished(out, func() (*valetkeyv1.SetFreezeResponse, error) { return cl.Operator.SetFreeze(ctx, req) })
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		rows := [][]string{{"agent", clean(req.GetAgentSpiffeId())}, {"state", "may ask again"}}
		if req.GetFrozen() {
			rows[1][1] = "frozen"
			rows = append(rows, []string{"revoked", grantsText(resp)})
		}
		return out.table(rows)
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
