package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// operatorServer is reached by operators alone: enter refuses all others.
type operatorServer struct {
	valetkeyv1.UnimplementedOperatorServiceServer
	Services
}

func (s *operatorServer) ListGrants(ctx context.Context, r *valetkeyv1.OperatorServiceListGrantsRequest) (*valetkeyv1.OperatorServiceListGrantsResponse, error) {
	page := pageIn(r)
	gs, err := s.Lookup.Grants(ctx, operatorOf(ctx), r.GetAgentSpiffeId(), r.GetLive(), page)
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.OperatorServiceListGrantsResponse{Grants: grantsOut(gs), NextPageToken: nextOut(gs, page)}, nil
}

func (s *operatorServer) GetGrant(ctx context.Context, r *valetkeyv1.OperatorServiceGetGrantRequest) (*valetkeyv1.OperatorServiceGetGrantResponse, error) {
	g, err := s.Lookup.Grant(ctx, operatorOf(ctx), r.GetGrantId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.OperatorServiceGetGrantResponse{Grant: grantOut(g)}, nil
}

func (s *operatorServer) RevokeGrant(ctx context.Context, r *valetkeyv1.RevokeGrantRequest) (*valetkeyv1.RevokeGrantResponse, error) {
	g, err := s.Revocation.RevokeGrant(ctx, operatorOf(ctx), r.GetIdempotencyKey(), r.GetGrantId(), r.GetCause())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.RevokeGrantResponse{Grant: grantOut(g)}, nil
}

func (s *operatorServer) RevokeTask(ctx context.Context, r *valetkeyv1.RevokeTaskRequest) (*valetkeyv1.RevokeTaskResponse, error) {
	t, ended, err := s.Revocation.RevokeTask(ctx, operatorOf(ctx), r.GetIdempotencyKey(), r.GetTaskId(), r.GetCause())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.RevokeTaskResponse{Task: taskOut(t), EndedGrantIds: ended}, nil
}

func (s *operatorServer) SetFreeze(ctx context.Context, r *valetkeyv1.SetFreezeRequest) (*valetkeyv1.SetFreezeResponse, error) {
	id, err := spiffeIDIn("agent_spiffe_id", r.GetAgentSpiffeId())
	if err != nil {
		return nil, err
	}
	ended, err := s.Orders.SetFreeze(ctx, operatorOf(ctx), r.GetIdempotencyKey(), grant.Freeze{
		Path: id, Frozen: r.GetFrozen(), KeepLive: r.GetKeepLive(), Cause: r.GetCause(),
	})
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.SetFreezeResponse{EndedGrants: ended.Grants, Unfinished: ended.Unfinished}, nil
}

func (s *operatorServer) RevokeGrants(ctx context.Context, r *valetkeyv1.RevokeGrantsRequest) (*valetkeyv1.RevokeGrantsResponse, error) {
	ended, err := s.revokeGrants(ctx, r)
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.RevokeGrantsResponse{EndedGrants: ended.Grants, Unfinished: ended.Unfinished}, nil
}

func (s *operatorServer) revokeGrants(ctx context.Context, r *valetkeyv1.RevokeGrantsRequest) (revocation.Ended, error) {
	switch whose := r.GetWhose().(type) {
	case *valetkeyv1.RevokeGrantsRequest_AgentSpiffeId:
		id, err := spiffeIDIn("agent_spiffe_id", whose.AgentSpiffeId)
		if err != nil {
			return revocation.Ended{}, err
		}
		return s.Orders.RevokeGrants(ctx, operatorOf(ctx), r.GetIdempotencyKey(), store.Path{ID: id}, r.GetCause())
	case *valetkeyv1.RevokeGrantsRequest_Path:
		id, err := spiffeIDIn("path", whose.Path)
		if err != nil {
			return revocation.Ended{}, err
		}
		return s.Orders.RevokeGrants(ctx, operatorOf(ctx), r.GetIdempotencyKey(), store.Path{ID: id, Below: true}, r.GetCause())
	case *valetkeyv1.RevokeGrantsRequest_Owner:
		ended, err := s.Orders.RevokeOwner(ctx, operatorOf(ctx), r.GetIdempotencyKey(), whose.Owner, r.GetCause())
		if errors.Is(err, revocation.ErrNoOwners) {
			err = fmt.Errorf("%w: %w: no path template of the broker's says {user}; name an agent or a path", grant.ErrInvalid, err)
		}
		return ended, err
	default:
		return revocation.Ended{}, fmt.Errorf("%w: it names neither an agent, a path nor an owner", grant.ErrInvalid)
	}
}

// spiffeIDIn reads a field. An order for a misspelt agent would reach nobody and look
// like success.
func spiffeIDIn(field, text string) (string, error) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", grant.ErrInvalid, field, err)
	}
	return id.String(), nil
}

func (s *operatorServer) ReloadCatalog(ctx context.Context, r *valetkeyv1.ReloadCatalogRequest) (*valetkeyv1.ReloadCatalogResponse, error) {
	version, err := s.Rules.Reload(ctx, operatorOf(ctx), r.GetIdempotencyKey())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.ReloadCatalogResponse{CatalogVersion: version}, nil
}
