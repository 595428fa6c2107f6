package main

import (
	"context"
	"strings"

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
				s.GetName(), s.GetProvider().Word(), s.GetTier().Word(), s.GetDefaultTtl().AsDuration().String(),
				s.GetMaxTtl().AsDuration().String(), parameterText(s.GetParameters()), clean(s.GetDescription()),
			})
		}
		return out.table(rows)
	})
}

func parameterText(ps []*valetkeyv1.Parameter) string {
	var out []string
	for _, p := range ps {
		text := p.GetName() + ":" + p.GetType().Word()
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
