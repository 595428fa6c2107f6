package vaultplugin

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func (b *backend) pathRequest() *framework.Path {
	return &framework.Path{
		Pattern: `requests/(?P<id>grant_[a-z0-9]{26})$`,
		Fields: map[string]*framework.FieldSchema{
			"id": {Type: framework.TypeString, Description: "The request's id, which is its grant's."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.readRequest, Summary: "Show a request of this caller's agent, or hand its credential over once people have approved it.",
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		},
		HelpSynopsis: "What became of a request, and the credential of one that people have approved.",
		HelpDescription: `
Shows a request of the caller's own agent: its state, why, and whose approval it
needs until when. Once people have approved one that was made at creds, the first
read gives its credential, with a lease that cannot be renewed; there is no second.
The state then is "active"; "rejected" and "lapsed" are requests that people said no
to, or did not approve in time. Agents are not told who they are.`,
	}
}

func (b *backend) readRequest(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	id, _ := d.Get("id").(string)
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	resp, g, err := b.handOver(ctx, req.Storage, who, id)
	switch {
	case err != nil:
		return nil, answer(req.MountPoint, err)
	case resp == nil:
		resp = &logical.Response{Data: show(g.Info())}
		resp.AddWarning(meaning(g.State()))
	}
	return resp, nil
}

// show is a request as its agent sees it.
func show(info *valetkeyv1.Grant) map[string]any {
	params := map[string]any{}
	for name, v := range info.GetParameters() {
		params[name] = v.GetValues()
	}
	data := map[string]any{
		"id": info.GetId(), "state": info.GetState().Word(), "needs": needsData(info.GetNeeds()), "reasons": info.GetReasons(), "agent": info.GetAgentSpiffeId(),
		"task": info.GetTaskId(), "scope": info.GetScope(), "version": info.GetScopeVersion(), "parameters": params, "tier": info.GetTier().Word(),
		"envelope_digest": info.GetEnvelopeDigest(), "requested_at": stamp(info.GetRequestedAt().AsTime()),
	}
	if at := info.GetExpiresAt(); at != nil {
		data["expires_at"] = stamp(at.AsTime())
	}
	if at := info.GetDecideBy(); at != nil {
		data["decide_by"] = stamp(at.AsTime())
	}
	return data
}

// meaning says why there is no credential in the answer.
func meaning(state valetkeyv1.GrantState) string {
	const none = "there is no credential in this answer: "
	switch state {
	case valetkeyv1.GrantState_GRANT_STATE_PENDING:
		return none + "people have not approved the request yet; read it again before decide_by"
	case valetkeyv1.GrantState_GRANT_STATE_CLEARED:
		return none + "the request may be minted from, but was not made at creds of this mount, which hands over no others"
	case valetkeyv1.GrantState_GRANT_STATE_ACTIVE:
		return none + "it was handed over, once; read creds to ask for another"
	case valetkeyv1.GrantState_GRANT_STATE_REJECTED:
		return none + "people said no to the request; do not ask again for the same"
	case valetkeyv1.GrantState_GRANT_STATE_LAPSED:
		return none + "people did not approve the request in time; read creds to ask again"
	default:
		return none + "the request is " + state.Word()
	}
}
