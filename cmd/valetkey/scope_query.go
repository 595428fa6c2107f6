package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// scopeQuery are the arguments of the commands that ask about a request and make none.
type scopeQuery struct {
	Scope       string        `arg:"" help:"The scope's name."`
	Params      []string      `arg:"" optional:"" name:"k=v" help:"Parameters. Repeat a name for a list."`
	TTL         time.Duration `help:"The life wished for. Default: the scope's."`
	Version     string        `name:"scope-version" help:"The version to insist on."`
	Environment string        `help:"The environment that the task says it is for."`
	Catalog     string        `help:"Ask this catalog folder, or REV:PATH of a git repository, and no broker." placeholder:"DIR"`
	Dialect     string        `help:"With --catalog: what enforces the role: aws, minio, radosgw or versitygw. Default: each that could; where they differ, \"can\" says unknown. A broker knows its roles." placeholder:"DIALECT"`
	Agent       string        `help:"With --catalog: the agent to suppose, for the policies beside the catalog." placeholder:"SPIFFE-ID"`
}

// forecast is what a request would give, from a broker or from a catalog.
type forecast struct {
	*valetkeyv1.ExplainScopeResponse

	permissions scopes.Permissions   // the first of each
	each        []scopes.Permissions // for each enforcer that the role could have; a broker has one
	decided     bool                 // whether policies were asked
}

// ask puts the query to the broker or to the catalog.
func (q *scopeQuery) ask(ctx context.Context, g *globals) (*forecast, error) {
	params, err := pairs(q.Params)
	if err != nil {
		return nil, err
	}
	f := &forecast{decided: q.Catalog == "" || q.Agent != ""}
	if q.Catalog != "" {
		f.ExplainScopeResponse, f.each, err = q.offline(ctx, params)
	} else {
		if q.Dialect != "" {
			return nil, &usageError{"--dialect goes with --catalog; a broker knows what enforces its roles"}
		}
		if q.Agent != "" {
			return nil, &usageError{"--agent goes with --catalog; a broker asks for the agent that you are"}
		}
		err = q.online(ctx, g, f)
	}
	if err != nil {
		return nil, err
	}
	if f.permissions, err = scopes.ParsePermissions([]byte(f.GetPermissions())); err != nil {
		return nil, err
	}
	if f.each == nil {
		f.each = []scopes.Permissions{f.permissions}
	}
	return f, nil
}

func (q *scopeQuery) online(ctx context.Context, g *globals, f *forecast) error {
	params, err := parameters(q.Params)
	if err != nil {
		return err
	}
	return g.call(ctx, func(ctx context.Context, cl *valetkey.Client) (err error) {
		f.ExplainScopeResponse, err = cl.Agent.ExplainScope(ctx, &valetkeyv1.ExplainScopeRequest{
			Scope: q.Scope, ScopeVersion: q.Version, Parameters: params, Ttl: wireTTL(q.TTL), Environment: q.Environment,
		})
		return err
	})
}

// offline answers as the broker would, from files: for every enforcer that the role could have, the first in the answer.
func (q *scopeQuery) offline(ctx context.Context, params map[string][]string) (*valetkeyv1.ExplainScopeResponse, []scopes.Permissions, error) {
	cat, err := openCatalog(ctx, q.Catalog)
	if err != nil {
		return nil, nil, err
	}
	dialect, err := dialectFlag(q.Dialect)
	if err != nil {
		return nil, nil, err
	}
	rs, err := cat.ResolveAll(scopes.Query{Scope: q.Scope, Version: q.Version, Params: params, TTL: q.TTL, Dialect: dialect})
	if err != nil {
		return nil, nil, err
	}
	var each []scopes.Permissions
	for _, r := range rs {
		each = append(each, r.Permissions())
	}
	r := rs[0]
	perms, err := each[0].Canonical()
	if err != nil {
		return nil, nil, fmt.Errorf("printing permissions: %w", err)
	}
	s := r.Scope()
	out := &valetkeyv1.ExplainScopeResponse{
		Scope: &valetkeyv1.Scope{
			Name: s.Name(), Version: s.Version(), Description: s.Description(), Provider: valetkeyv1.ProviderOf(string(s.Provider())),
			DefaultTtl: durationpb.New(s.DefaultTTL()), MaxTtl: durationpb.New(s.MaxTTL()), Tier: valetkeyv1.TierOf(s.Tier().String()),
		},
		Tier: valetkeyv1.TierOf(r.Tier().String()), TierReasons: r.TierReasons(), Permissions: string(perms), Ttl: durationpb.New(r.TTL()),
		SourceCidrs: s.SourceCIDRs(), Regions: s.Regions(),
	}
	if p := each[0]; p.AWS != nil {
		size, err := s.BoundSize(p.Dialect, *p.AWS)
		if err != nil {
			return nil, nil, err
		}
		out.PolicySize, out.PolicyLimit = int32(size), iam.MaxSize //nolint:gosec // Resolve keeps it under the limit
	}
	if q.Agent == "" {
		return out, each, nil
	}
	return out, each, q.rehearse(cat, r, out)
}

// dialectFlag reads --dialect; empty is none.
func dialectFlag(name string) (iam.Dialect, error) {
	if name == "" {
		return "", nil
	}
	d, err := iam.ParseDialect(name)
	if err != nil {
		return "", &usageError{err.Error()}
	}
	return d, nil
}

// rehearse asks the policies beside the catalog, with the default floor.
func (q *scopeQuery) rehearse(cat *scopes.Catalog, r scopes.Request, out *valetkeyv1.ExplainScopeResponse) error {
	if _, err := os.Stat(filepath.Join(q.Catalog, "policies")); errors.Is(err, os.ErrNotExist) {
		return &usageError{fmt.Sprintf("--agent needs policies, and %s has none; leave it out", q.Catalog)}
	}
	engine, err := policy.Load(q.Catalog, cat)
	if err != nil {
		return err
	}
	v, err := engine.Rehearse(q.Agent, r, policy.Task{Environment: q.Environment}, time.Now())
	if err != nil {
		return fmt.Errorf("asking the policies of %s: %w", q.Catalog, err)
	}
	out.Allowed, out.Reasons = v.Outcome == policy.Allow, v.Reasons
	if v.Outcome != policy.Deny {
		out.Ttl = durationpb.New(v.TTL)
	}
	for _, n := range v.Needs {
		out.Needs = append(out.Needs, &valetkeyv1.Need{Group: n.Group, Approvals: int32(n.Approvals)}) //nolint:gosec // a small number
	}
	return nil
}
