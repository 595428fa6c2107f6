package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

type scopesCmd struct{}

func (c *scopesCmd) Run(ctx context.Context, g *globals, out *output) error {
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.ListScopes(ctx, &valetkeyv1.ListScopesRequest{})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		rows := [][]string{{"SCOPE", "PROVIDER", "TIER", "TTL", "MAX", "PARAMETERS", "DESCRIPTION"}}
		for _, s := range resp.GetScopes() {
			rows = append(rows, []string{
				s.GetName(), s.GetProvider(), tierName(s.GetTier()), s.GetDefaultTtl().AsDuration().String(),
				s.GetMaxTtl().AsDuration().String(), parameterText(s.GetParameters()), clean(s.GetDescription()),
			})
		}
		return out.table(rows)
	})
}

func parameterText(ps []*valetkeyv1.Parameter) string {
	var out []string
	for _, p := range ps {
		text := p.GetName() + ":" + p.GetType()
		if p.GetList() {
			text += "[]"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, " ")
}

type explainCmd struct {
	Scope       string        `arg:"" help:"The scope's name."`
	Params      []string      `arg:"" optional:"" name:"k=v" help:"Parameters. Repeat a name for a list."`
	TTL         time.Duration `help:"The life wished for. Default: the scope's."`
	Version     string        `name:"scope-version" help:"The version to insist on."`
	Environment string        `help:"The task's environment to suppose."`
}

func (c *explainCmd) Run(ctx context.Context, g *globals, out *output) error {
	params, err := parameters(c.Params)
	if err != nil {
		return err
	}
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) error {
		resp, err := cl.Agent.ExplainScope(ctx, &valetkeyv1.ExplainScopeRequest{
			Scope: c.Scope, ScopeVersion: c.Version, Parameters: params, Ttl: wireTTL(c.TTL), Environment: c.Environment,
		})
		if err != nil {
			return err
		}
		if out.json() {
			return out.message(resp)
		}
		return printExplanation(out, resp)
	})
}

func printExplanation(out *output, resp *valetkeyv1.ExplainScopeResponse) error {
	answer := "denied"
	switch {
	case resp.GetAllowed():
		answer = "allowed"
	case len(resp.GetNeeds()) > 0:
		answer = "needs approval: " + needsText(resp.GetNeeds())
	}
	rows := [][]string{
		{"scope", resp.GetScope().GetName() + " @ " + resp.GetScope().GetVersion()},
		{"answer", answer},
		{"tier", tierName(resp.GetTier())},
		{"ttl", resp.GetTtl().AsDuration().String()},
	}
	for _, r := range resp.GetTierReasons() {
		rows = append(rows, []string{"tier because", clean(r)})
	}
	for _, r := range resp.GetReasons() {
		rows = append(rows, []string{"because", clean(r)})
	}
	if resp.GetPolicyLimit() > 0 {
		rows = append(rows, []string{"policy size", fmt.Sprintf("%d of %d characters", resp.GetPolicySize(), resp.GetPolicyLimit())})
	}
	if err := out.table(rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out.stdout, "\n%s\n", resp.GetPermissions()); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
