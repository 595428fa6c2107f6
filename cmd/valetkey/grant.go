package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type requestCmd struct {
	receiptFlags

	Scope   string        `arg:"" help:"The scope's name."`
	Params  []string      `arg:"" optional:"" name:"k=v" help:"Parameters. Repeat a name for a list."`
	Task    string        `required:"" help:"Your open task's id."`
	TTL     time.Duration `help:"The life wished for. Default: the scope's."`
	Version string        `name:"scope-version" help:"The version to insist on."`
	Why     string        `name:"why" help:"The justification, for people. Nothing decides on it."`
	Mint    bool          `help:"Mint the first credential too, and print it. Standard output then has the credential or nothing."`
	Wait    bool          `help:"Wait for people where they have to approve, as long as it takes."`
	formatFlag
}

func (c *requestCmd) Run(ctx context.Context, g *globals, out *output) error {
	params, err := pairs(c.Params)
	if err != nil {
		return fmt.Errorf("reading parameters: %w", err)
	}
	if c.Mint { // before anything is asked
		if _, err := c.as(out); err != nil {
			return err
		}
	}
	if c.Wait {
		return c.wait(ctx, g, out, params)
	}
	if !c.Mint {
		return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
			grant, err := cl.Task(c.Task).Request(ctx, c.Scope, params, c.asking()...)
			if err != nil {
				return err
			}
			return c.printGrant(out, grant.Info())
		})
	}
	return g.callWith(ctx, c.options(), func(ctx context.Context, cl *valetkey.Client) error {
		grant, cred, err := cl.Task(c.Task).RequestCredential(ctx, c.Scope, params, c.asking()...)
		switch {
		case err == nil:
			return c.printCredential(out, grant.Info(), cred)
		case grant != nil && (errors.Is(err, valetkey.ErrNeedsApproval) || errors.Is(err, valetkey.ErrDenied)):
			// Whoever reads standard output runs it.
			return cmp.Or(c.printGrant(out.aside(), grant.Info()), err)
		default:
			return err
		}
	})
}

// wait is Run where people are waited for: --timeout bounds each call, and not them.
func (c *requestCmd) wait(ctx context.Context, g *globals, out *output, params valetkey.Params) (err error) {
	opts := []valetkey.Option{valetkey.WithoutReceiptChecks()}
	if c.Mint {
		opts = c.options()
	}
	client, err := limited(ctx, g, func(ctx context.Context) (*valetkey.Client, error) { return g.dialWith(ctx, opts...) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	grant, err := limited(ctx, g, func(ctx context.Context) (*valetkey.Grant, error) {
		return client.Task(c.Task).Request(ctx, c.Scope, params, c.asking()...)
	})
	if err != nil {
		return err
	}
	if info := grant.Info(); info.GetState() == valetkeyv1.GrantState_GRANT_STATE_PENDING {
		id := clean(grant.ID())
		out.say("%s waits until %s for %s; they say: valetkey approve %s", id, when(info.GetDecideBy()), needsText(info.GetNeeds()), id)
	}
	if err := grant.Wait(ctx); err != nil {
		return err
	}
	if !c.Mint {
		return c.printGrant(out, grant.Info())
	}
	cred, err := limited(ctx, g, grant.Mint)
	if err != nil {
		return err
	}
	return c.printCredential(out, grant.Info(), cred)
}

func (c *requestCmd) asking() []valetkey.RequestOption {
	return []valetkey.RequestOption{valetkey.WithScopeVersion(c.Version), valetkey.WithTTL(c.TTL), valetkey.WithJustification(c.Why)}
}

// printGrant prints a grant without a credential, and says whether it can be used.
func (c *requestCmd) printGrant(out *output, grant *valetkeyv1.Grant) error {
	var err error
	if out.json() {
		err = out.message(&valetkeyv1.RequestGrantResponse{Grant: grant})
	} else {
		err = printGrant(out, grant)
	}
	if err != nil {
		return err
	}
	return outcome(grant)
}

func (c *requestCmd) printCredential(out *output, grant *valetkeyv1.Grant, cred valetkey.Credential) error {
	wire, receipt := onTheWire(cred)
	resp := &valetkeyv1.RequestGrantResponse{Grant: grant, Credential: wire, Receipt: receipt}
	format, err := c.as(out)
	if err != nil {
		return err
	}
	sayUnchecked(out, cred)
	if !out.json() {
		out.say("grant %s until %s, record %d", clean(grant.GetId()), when(grant.GetExpiresAt()), receipt.GetIndex())
	}
	return printCredential(out, format, wire, resp)
}

// outcome makes a grant that cannot be used an error, so that scripts stop.
func outcome(g *valetkeyv1.Grant) error {
	switch g.GetState() {
	case valetkeyv1.GrantState_GRANT_STATE_DENIED:
		return fmt.Errorf("%w: %s", errDenied, clean(strings.Join(g.GetReasons(), "; ")))
	case valetkeyv1.GrantState_GRANT_STATE_PENDING:
		return fmt.Errorf("%w: %s, until %s\nNext: have them run: valetkey approve %s; then: valetkey mint %s", errNeedsApproval,
			needsText(g.GetNeeds()), when(g.GetDecideBy()), clean(g.GetId()), clean(g.GetId()))
	case valetkeyv1.GrantState_GRANT_STATE_CLEARED, valetkeyv1.GrantState_GRANT_STATE_ACTIVE:
		return nil
	default:
		return fmt.Errorf("the grant is %s, so that nothing can be minted from it", g.GetState().Word())
	}
}

func printGrant(out *output, g *valetkeyv1.Grant) error {
	rows := [][]string{
		{"grant", g.GetId()},
		{"state", g.GetState().Word()},
		{"scope", g.GetScope() + " @ " + g.GetScopeVersion()},
		{"parameters", valuesText(g.GetParameters())},
		{"tier", g.GetTier().Word()},
		{"permissions", g.GetPermissionsDigest()},
		{"task", g.GetTaskId()},
		{"agent", g.GetAgentSpiffeId()},
		{"envelope", g.GetEnvelopeDigest()},
		{"expires", when(g.GetExpiresAt())},
	}
	if g.GetDecideBy() != nil {
		rows[len(rows)-1] = []string{"lapses", when(g.GetDecideBy())} // its life has not begun
	}
	for _, r := range g.GetTierReasons() {
		rows = append(rows, []string{"tier because", clean(r)})
	}
	for _, r := range g.GetReasons() {
		rows = append(rows, []string{"because", clean(r)})
	}
	if len(g.GetNeeds()) > 0 {
		rows = append(rows, []string{"needs", needsText(g.GetNeeds())})
	}
	return out.table(rows)
}

func valuesText(params map[string]*valetkeyv1.Value) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		for _, v := range params[k].GetValues() {
			out = append(out, k+"="+clean(v))
		}
	}
	return strings.Join(out, " ")
}

type mintCmd struct {
	receiptFlags

	Grant string `arg:"" help:"The grant's id."`
	formatFlag
}

func (c *mintCmd) Run(ctx context.Context, g *globals, out *output) error {
	format, err := c.as(out)
	if err != nil {
		return err
	}
	return g.callWith(ctx, c.options(), func(ctx context.Context, cl *valetkey.Client) error {
		grant, err := cl.Grant(ctx, c.Grant)
		if err != nil {
			return err
		}
		cred, err := grant.Mint(ctx)
		if err != nil {
			return err
		}
		wire, receipt := onTheWire(cred)
		resp := &valetkeyv1.MintCredentialResponse{Credential: wire, Receipt: receipt}
		sayUnchecked(out, cred)
		if !out.json() {
			out.say("until %s, record %d", when(wire.GetExpiresAt()), receipt.GetIndex())
		}
		return printCredential(out, format, wire, resp)
	})
}

type releaseCmd struct {
	Grant string `arg:"" help:"The grant's id."`
}

func (c *releaseCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.ReleaseGrant(ctx, &valetkeyv1.ReleaseGrantRequest{IdempotencyKey: valetkey.NewIdempotencyKey(), GrantId: c.Grant})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return printGrant(out, resp.GetGrant())
	})
}
