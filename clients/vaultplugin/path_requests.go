package vaultplugin

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) pathRequest() *framework.Path {
	return &framework.Path{
		Pattern: `requests/(?P<id>grant_[a-z0-9]{26})$`,
		Fields: map[string]*framework.FieldSchema{
			"id": {Type: framework.TypeString, Description: "The request's id, which is its grant's."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{Callback: b.readRequest, Summary: "Show a request of this caller's agent."},
		},
		HelpSynopsis: "What became of a request.",
		HelpDescription: `
Shows a request of the caller's own agent: its state, why, and whose approval it
lacks. A request that needs people is refused today: this broker takes no
approvals yet, so its state stays "denied" with what it needs beside it.`,
	}
}

func (b *backend) readRequest(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	id, _ := d.Get("id").(string)
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	g, err := who.client.Grant(ctx, id)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	info, needs, params := g.Info(), map[string]any{}, map[string]any{}
	for _, n := range info.GetNeeds() {
		needs[n.GetGroup()] = int(n.GetApprovals())
	}
	for name, v := range info.GetParameters() {
		params[name] = v.GetValues()
	}
	return &logical.Response{Data: map[string]any{
		"id": info.GetId(), "state": stateName(info.GetState()), "needs": needs, "reasons": info.GetReasons(), "agent": info.GetAgentSpiffeId(),
		"task": info.GetTaskId(), "scope": info.GetScope(), "version": info.GetScopeVersion(), "parameters": params, "tier": tierName(info.GetTier()),
		"envelope_digest": info.GetEnvelopeDigest(), "requested_at": stamp(info.GetRequestedAt().AsTime()), "expires_at": stamp(info.GetExpiresAt().AsTime()),
	}}, nil
}
