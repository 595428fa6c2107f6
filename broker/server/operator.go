package server

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// operatorServer is reached only by SPIFFE IDs on the config's list: enter
// refuses all others.
type operatorServer struct {
	valetkeyv1.UnimplementedOperatorServiceServer
	b *broker.Broker
}

const defaultPage = 100

func (s *operatorServer) ListGrants(ctx context.Context, r *valetkeyv1.ListGrantsRequest) (*valetkeyv1.ListGrantsResponse, error) {
	size := int(r.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	gs, err := s.b.Grants(ctx, store.GrantFilter{Agent: r.GetAgentSpiffeId(), Open: r.GetLive(), Before: r.GetPageToken(), Limit: size})
	if err != nil {
		return nil, err
	}
	out := &valetkeyv1.ListGrantsResponse{Grants: grantsOut(gs)}
	if len(gs) == size {
		out.NextPageToken = gs[len(gs)-1].ID
	}
	return out, nil
}

func (s *operatorServer) GetGrant(ctx context.Context, r *valetkeyv1.GetGrantRequest) (*valetkeyv1.GetGrantResponse, error) {
	g, err := s.b.Grant(ctx, "", r.GetGrantId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetGrantResponse{Grant: grantOut(g)}, nil
}

func (s *operatorServer) RevokeGrant(ctx context.Context, r *valetkeyv1.RevokeGrantRequest) (*valetkeyv1.RevokeGrantResponse, error) {
	g, err := s.b.RevokeGrant(ctx, callerOf(ctx), r.GetIdempotencyKey(), r.GetGrantId(), r.GetCause())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.RevokeGrantResponse{Grant: grantOut(g)}, nil
}

func (s *operatorServer) RevokeTask(ctx context.Context, r *valetkeyv1.RevokeTaskRequest) (*valetkeyv1.RevokeTaskResponse, error) {
	t, ended, err := s.b.RevokeTask(ctx, callerOf(ctx), r.GetIdempotencyKey(), r.GetTaskId(), r.GetCause())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.RevokeTaskResponse{Task: taskOut(t), EndedGrantIds: ended}, nil
}

func (s *operatorServer) SetFreeze(ctx context.Context, r *valetkeyv1.SetFreezeRequest) (*valetkeyv1.SetFreezeResponse, error) {
	// A freeze of a misspelt agent would stop nobody and look like success.
	id, err := spiffeid.FromString(r.GetAgentSpiffeId())
	if err != nil {
		return nil, fmt.Errorf("%w: agent_spiffe_id: %w", errInvalid, err)
	}
	if err := s.b.SetFreeze(ctx, callerOf(ctx), r.GetIdempotencyKey(), id.String(), r.GetFrozen(), r.GetCause()); err != nil {
		return nil, err
	}
	return &valetkeyv1.SetFreezeResponse{}, nil
}

func (s *operatorServer) ReloadCatalog(ctx context.Context, r *valetkeyv1.ReloadCatalogRequest) (*valetkeyv1.ReloadCatalogResponse, error) {
	version, err := s.b.Reload(ctx, callerOf(ctx), r.GetIdempotencyKey())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.ReloadCatalogResponse{CatalogVersion: version}, nil
}

func (s *operatorServer) GetCheckpoint(ctx context.Context, _ *valetkeyv1.GetCheckpointRequest) (*valetkeyv1.GetCheckpointResponse, error) {
	h, err := s.b.Ledger().Head(ctx)
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetCheckpointResponse{Checkpoint: string(h.Checkpoint)}, nil
}

func (s *operatorServer) GetRecord(ctx context.Context, r *valetkeyv1.GetRecordRequest) (*valetkeyv1.GetRecordResponse, error) {
	rec, err := s.b.Ledger().Prove(ctx, r.GetIndex())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetRecordResponse{Receipt: receiptOut(rec)}, nil
}

func (s *operatorServer) GetConsistencyProof(ctx context.Context, r *valetkeyv1.GetConsistencyProofRequest) (*valetkeyv1.GetConsistencyProofResponse, error) {
	proof, checkpoint, err := s.b.Ledger().ProveTree(ctx, r.GetOldSize())
	if err != nil {
		return nil, err
	}
	out := &valetkeyv1.GetConsistencyProofResponse{Checkpoint: string(checkpoint)}
	for _, h := range proof {
		out.Proof = append(out.Proof, h[:])
	}
	return out, nil
}
