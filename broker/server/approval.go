package server

import (
	"context"

	"github.com/valetkey/valetkey/broker/internal/approval"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// approvalServer is reached by people who approve alone: enter refuses all others.
type approvalServer struct {
	valetkeyv1.UnimplementedApprovalServiceServer
	b *approval.Service
}

func (s *approvalServer) ListPendingGrants(ctx context.Context, r *valetkeyv1.ListPendingGrantsRequest) (*valetkeyv1.ListPendingGrantsResponse, error) {
	waiting, next, err := s.b.PendingGrants(ctx, approverOf(ctx), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &valetkeyv1.ListPendingGrantsResponse{NextPageToken: next}
	for _, p := range waiting {
		one := pendingOut(p)
		one.Envelope, one.Justification, one.Task.Purpose = "", "", "" // a list of them would not fit a message
		out.Pending = append(out.Pending, one)
	}
	return out, nil
}

func (s *approvalServer) GetPendingGrant(ctx context.Context, r *valetkeyv1.GetPendingGrantRequest) (*valetkeyv1.GetPendingGrantResponse, error) {
	p, err := s.b.PendingGrant(ctx, approverOf(ctx), r.GetGrantId())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetPendingGrantResponse{Pending: pendingOut(p)}, nil
}

func (s *approvalServer) SubmitApproval(ctx context.Context, r *valetkeyv1.SubmitApprovalRequest) (*valetkeyv1.SubmitApprovalResponse, error) {
	p, err := s.b.Vote(ctx, approverOf(ctx), r.GetGrantId(), r.GetStatement(), r.GetSignature())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.SubmitApprovalResponse{Pending: pendingOut(p)}, nil
}

func pendingOut(p approval.Pending) *valetkeyv1.PendingGrant {
	out := &valetkeyv1.PendingGrant{
		Grant: grantOut(p.Grant), Task: taskOut(p.Task), Justification: p.Grant.Case.Justification, Envelope: p.Grant.Case.Envelope,
		Broker: p.Broker, Nonce: p.Grant.Case.Nonce, Person: p.Person, Lacking: needsOut(p.Lacking), Barred: p.Barred, Named: p.Named,
		Groups: p.Groups, LapsesAt: stamp(p.Grant.Case.Lapses),
	}
	for _, v := range p.Votes {
		out.Approvals = append(out.Approvals, &valetkeyv1.Approval{Person: v.Person, Decision: valetkeyv1.DecisionOf(v.Decision), Comment: v.Comment, DecidedAt: stamp(v.At)})
	}
	return out
}
