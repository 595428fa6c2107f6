package vaultplugin

import (
	"context"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const scopeName = `(?P<scope>[a-z0-9][a-z0-9-]{0,62})`

func (b *backend) pathScopes() *framework.Path {
	return &framework.Path{
		Pattern: "scopes/?$",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{Callback: b.listScopes, Summary: "List what may be asked for."},
		},
		HelpSynopsis:    "What may be asked for.",
		HelpDescription: "Lists the broker's catalog: \"vault list -detailed MOUNT/scopes\".",
	}
}

func (b *backend) pathScope() *framework.Path {
	return &framework.Path{
		Pattern: "scopes/" + scopeName + "$", Fields: askFields(), TakesArbitraryInput: true,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{Callback: b.readScope, Summary: "Describe a scope; with parameters, say what a request would give and need."},
		},
		HelpSynopsis: "What a scope is, and what a request for it would give and need.",
		HelpDescription: `
Without parameters it shows the scope's parameters and limits. With them, such as

    vault read MOUNT/scopes/s3-prefix-read bucket=prod prefix=reports/

it shows the permissions that would be given, whether policy allows them to this
caller now, and whose approval is missing. Nothing is recorded or minted.`,
	}
}

func (b *backend) listScopes(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	all, err := who.client.Scopes(ctx)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	var names []string
	info := map[string]any{}
	for _, s := range all {
		names = append(names, s.GetName())
		info[s.GetName()] = map[string]any{
			"description": s.GetDescription(), "provider": s.GetProvider().Word(), "tier": s.GetTier().Word(), "max_ttl": s.GetMaxTtl().AsDuration().String(),
		}
	}
	return logical.ListResponseWithInfo(names, info), nil
}

func (b *backend) readScope(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	a, err := readAsk(req, d)
	if err != nil {
		return badRequest(err)
	}
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	if len(a.params) == 0 {
		all, err := who.client.Scopes(ctx)
		if err != nil {
			return nil, answer(req.MountPoint, err)
		}
		at := slices.IndexFunc(all, func(s *valetkeyv1.Scope) bool { return s.GetName() == a.scope })
		if at < 0 {
			return nil, logical.CodedError(http.StatusBadRequest, "the catalog has no scope "+a.scope+"; \"vault list "+req.MountPoint+"scopes\" shows those there are")
		}
		if len(all[at].GetParameters()) > 0 {
			return &logical.Response{Data: describe(all[at])}, nil
		}
	}
	environment := a.environment
	if who.cfg.Environment != "" {
		environment = who.cfg.Environment
	}
	got, err := who.client.Explain(ctx, environment, a.scope, a.params, a.options()...)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	return &logical.Response{Data: map[string]any{
		"scope": got.GetScope().GetName(), "version": got.GetScope().GetVersion(), "tier": got.GetTier().Word(), "tier_reasons": got.GetTierReasons(),
		"permissions": got.GetPermissions(), "allowed": got.GetAllowed(), "needs": needsData(got.GetNeeds()), "reasons": got.GetReasons(),
		"ttl": got.GetTtl().AsDuration().String(), "environment": environment,
	}}, nil
}

func describe(s *valetkeyv1.Scope) map[string]any {
	params := map[string]any{}
	for _, p := range s.GetParameters() {
		params[p.GetName()] = map[string]any{"type": p.GetType().Word(), "description": p.GetDescription(), "allowed": p.GetAllowed(), "list": p.GetList()}
	}
	return map[string]any{
		"scope": s.GetName(), "version": s.GetVersion(), "description": s.GetDescription(), "provider": s.GetProvider().Word(), "tier": s.GetTier().Word(),
		"default_ttl": s.GetDefaultTtl().AsDuration().String(), "max_ttl": s.GetMaxTtl().AsDuration().String(), "parameters": params,
	}
}
