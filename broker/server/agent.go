package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/issue"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

type agentServer struct {
	valetkeyv1.UnimplementedAgentServiceServer
	Services
}

func (s *agentServer) OpenTask(ctx context.Context, r *valetkeyv1.OpenTaskRequest) (*valetkeyv1.OpenTaskResponse, error) {
	t, err := s.Issue.OpenTask(ctx, callerOf(ctx), grant.NewTask{
		Key: r.GetIdempotencyKey(), Purpose: r.GetPurpose(), Environment: r.GetEnvironment(), OnBehalfOf: r.GetOnBehalfOf(),
	})
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.OpenTaskResponse{Task: taskOut(t)}, nil
}

func (s *agentServer) CloseTask(ctx context.Context, r *valetkeyv1.CloseTaskRequest) (*valetkeyv1.CloseTaskResponse, error) {
	t, ended, err := s.Revocation.CloseTask(ctx, callerOf(ctx), r.GetIdempotencyKey(), r.GetTaskId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.CloseTaskResponse{Task: taskOut(t), EndedGrantIds: ended}, nil
}

func (s *agentServer) ListScopes(ctx context.Context, _ *valetkeyv1.ListScopesRequest) (*valetkeyv1.ListScopesResponse, error) {
	cat, err := s.Rules.Catalog(callerOf(ctx))
	if err != nil {
		return nil, err
	}
	out := &valetkeyv1.ListScopesResponse{CatalogVersion: cat.Version()}
	for _, sc := range cat.Scopes() {
		out.Scopes = append(out.Scopes, scopeOut(sc))
	}
	return out, nil
}

func (s *agentServer) ExplainScope(ctx context.Context, r *valetkeyv1.ExplainScopeRequest) (*valetkeyv1.ExplainScopeResponse, error) {
	d, err := s.Issue.Explain(ctx, callerOf(ctx), scopes.Query{
		Scope: r.GetScope(), Version: r.GetScopeVersion(), Params: paramsIn(r.GetParameters()), TTL: r.GetTtl().AsDuration(),
	}, r.GetEnvironment())
	if err != nil {
		return nil, err
	}
	req := d.Request()
	out := &valetkeyv1.ExplainScopeResponse{
		Scope: scopeOut(req.Scope()), Tier: valetkeyv1.TierOf(req.Tier().String()), TierReasons: req.TierReasons(), Permissions: req.CanonicalPermissions(),
		Allowed: d.Outcome() == policy.Allow, Needs: needsOut(d.Needs()), Reasons: d.Reasons(), Ttl: durationpb.New(d.TTL()),
		SourceCidrs: req.Scope().SourceCIDRs(), Regions: req.Scope().Regions(),
	}
	if p := req.Permissions(); p.AWS != nil {
		size, err := req.Scope().BoundSize(p.Dialect, *p.AWS)
		if err != nil {
			return nil, fmt.Errorf("measuring permissions: %w", err)
		}
		out.PolicySize, out.PolicyLimit = int32(size), iam.MaxSize //nolint:gosec // Resolve keeps it under the limit
	}
	return out, nil
}

func (s *agentServer) RequestGrant(ctx context.Context, r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	out, err := s.Issue.RequestGrant(ctx, callerOf(ctx), issue.Ask{
		Key: r.GetIdempotencyKey(), TaskID: r.GetTaskId(), Scope: r.GetScope(), ScopeVersion: r.GetScopeVersion(),
		Params: paramsIn(r.GetParameters()), TTL: r.GetTtl().AsDuration(), Justification: r.GetJustification(), Mint: r.GetMint(),
	})
	if err != nil {
		return nil, &refusedGrantError{error: err, id: out.Grant.ID}
	}
	return &valetkeyv1.RequestGrantResponse{
		Grant: grantOut(out.Grant), Credential: credentialOut(out.Credential), Receipt: receiptOut(out.Receipt),
	}, nil
}

func (s *agentServer) WatchGrant(r *valetkeyv1.WatchGrantRequest, ss grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	ctx := ss.Context()
	alive := func() error { return grant.ErrNotAllowed }
	if g, ok := ss.(*grpc.GenericServerStream[valetkeyv1.WatchGrantRequest, valetkeyv1.WatchGrantResponse]); ok {
		if c, ok := g.ServerStream.(*checkedStream); ok {
			alive = c.alive
		}
	}
	return s.Watches.Watch(ctx, callerOf(ctx), r.GetGrantId(), alive, func(g store.Grant) error {
		return ss.Send(&valetkeyv1.WatchGrantResponse{Grant: grantOut(g)})
	})
}

func (s *agentServer) MintCredential(ctx context.Context, r *valetkeyv1.MintCredentialRequest) (*valetkeyv1.MintCredentialResponse, error) {
	out, err := s.Issue.MintCredential(ctx, callerOf(ctx), r.GetIdempotencyKey(), r.GetGrantId())
	if err != nil {
		return nil, &refusedGrantError{error: err, id: r.GetGrantId()}
	}
	return &valetkeyv1.MintCredentialResponse{Credential: credentialOut(out.Credential), Receipt: receiptOut(out.Receipt)}, nil
}

func (s *agentServer) ReleaseGrant(ctx context.Context, r *valetkeyv1.ReleaseGrantRequest) (*valetkeyv1.ReleaseGrantResponse, error) {
	g, err := s.Revocation.ReleaseGrant(ctx, callerOf(ctx), r.GetIdempotencyKey(), r.GetGrantId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.ReleaseGrantResponse{Grant: grantOut(g)}, nil
}

func (s *agentServer) GetGrant(ctx context.Context, r *valetkeyv1.GetGrantRequest) (*valetkeyv1.GetGrantResponse, error) {
	g, err := s.Lookup.OwnGrant(ctx, callerOf(ctx), r.GetGrantId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetGrantResponse{Grant: grantOut(g)}, nil
}

func (s *agentServer) ListGrants(ctx context.Context, r *valetkeyv1.ListGrantsRequest) (*valetkeyv1.ListGrantsResponse, error) {
	page := pageIn(r)
	gs, err := s.Lookup.OwnGrants(ctx, callerOf(ctx), r.GetTaskId(), page)
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.ListGrantsResponse{Grants: grantsOut(gs), NextPageToken: nextOut(gs, page)}, nil
}

func (s *agentServer) GetTask(ctx context.Context, r *valetkeyv1.GetTaskRequest) (*valetkeyv1.GetTaskResponse, error) {
	t, err := s.Lookup.OwnTask(ctx, callerOf(ctx), r.GetTaskId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetTaskResponse{Task: taskOut(t)}, nil
}
