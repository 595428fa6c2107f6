package valetkey_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestWait has a grant wait for people, over streams that break.
func TestWait(t *testing.T) {
	pending, cleared := valetkeyv1.GrantState_GRANT_STATE_PENDING, valetkeyv1.GrantState_GRANT_STATE_CLEARED
	for name, tt := range map[string]struct {
		states []valetkeyv1.GrantState // one stream each
		want   error
	}{
		"approved":             {[]valetkeyv1.GrantState{pending, cleared}, nil},
		"approved in the end":  {[]valetkeyv1.GrantState{pending, pending, pending, cleared}, nil},
		"approved and used":    {[]valetkeyv1.GrantState{pending, valetkeyv1.GrantState_GRANT_STATE_ACTIVE}, nil},
		"denied":               {[]valetkeyv1.GrantState{pending, valetkeyv1.GrantState_GRANT_STATE_DENIED}, valetkey.ErrDenied},
		"given back meanwhile": {[]valetkeyv1.GrantState{pending, valetkeyv1.GrantState_GRANT_STATE_RELEASED}, valetkey.ErrGrantEnded},
		"revoked meanwhile":    {[]valetkeyv1.GrantState{pending, valetkeyv1.GrantState_GRANT_STATE_REVOKED}, valetkey.ErrGrantEnded},
		"its time ran out":     {[]valetkeyv1.GrantState{pending, valetkeyv1.GrantState_GRANT_STATE_EXPIRED}, valetkey.ErrGrantEnded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			next := 0
			s := &stub{watch: func(stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
				state := tt.states[min(next, len(tt.states)-1)]
				next++
				if err := stream.Send(&valetkeyv1.WatchGrantResponse{Grant: &valetkeyv1.Grant{
					Id: "grant_x", State: state, Needs: []*valetkeyv1.Need{{Group: "sre", Approvals: 2}},
				}}); err != nil {
					return err
				}
				if state == pending {
					return status.Error(codes.Unavailable, "the broker is stopping")
				}
				return nil
			}}
			c := dial(t, h, valetkey.WithAddr(s.serve(t, h.Authority)))
			g, err := c.Grant(t.Context(), "grant_x")
			must(t, err)
			if g.State() != pending {
				t.Fatalf("it is %s", g.State())
			}
			if err := g.Wait(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("waiting: %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("nobody comes", func(t *testing.T) {
		h := start(t)
		s := &stub{watch: func(stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
			if err := stream.Send(&valetkeyv1.WatchGrantResponse{Grant: &valetkeyv1.Grant{Id: "grant_x", State: pending}}); err != nil {
				return err
			}
			<-stream.Context().Done()
			return stream.Context().Err()
		}}
		g, err := dial(t, h, valetkey.WithAddr(s.serve(t, h.Authority))).Grant(t.Context(), "grant_x")
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting: %v", err)
		}
	})
	t.Run("no such grant", func(t *testing.T) {
		h := start(t)
		if _, err := dial(t, h).Grant(t.Context(), "grant_aaaaaaaaaaaaaaaaaaaaaaaaaa"); !errors.Is(err, valetkey.ErrGrantNotFound) {
			t.Errorf("looking: %v", err)
		}
	})
}

// approvals is an edge where people take their time. It mints without a receipt.
type approvals struct {
	stub
	approved atomic.Bool
	asked    atomic.Int32
}

func (a *approvals) grant() *valetkeyv1.Grant {
	g := &valetkeyv1.Grant{
		Id: "grant_x", TaskId: "task_" + strings.Repeat("a", 26), Scope: "s3-bucket-rebuild",
		Parameters: map[string]*valetkeyv1.Value{"bucket": {Values: []string{"prod"}}}, State: valetkeyv1.GrantState_GRANT_STATE_PENDING,
		ExpiresAt: timestamppb.New(time.Now().Add(15 * time.Minute)), Needs: []*valetkeyv1.Need{{Group: "sre", Approvals: 2}},
	}
	if a.approved.Load() {
		g.State = valetkeyv1.GrantState_GRANT_STATE_CLEARED
	}
	return g
}

func (a *approvals) RequestGrant(context.Context, *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	a.asked.Add(1)
	return &valetkeyv1.RequestGrantResponse{Grant: a.grant()}, nil
}

func (a *approvals) GetGrant(context.Context, *valetkeyv1.GetGrantRequest) (*valetkeyv1.GetGrantResponse, error) {
	return &valetkeyv1.GetGrantResponse{Grant: a.grant()}, nil
}

func (a *approvals) WatchGrant(_ *valetkeyv1.WatchGrantRequest, stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	for {
		if err := stream.Send(&valetkeyv1.WatchGrantResponse{Grant: a.grant()}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (a *approvals) MintCredential(context.Context, *valetkeyv1.MintCredentialRequest) (*valetkeyv1.MintCredentialResponse, error) {
	return &valetkeyv1.MintCredentialResponse{Credential: &valetkeyv1.Credential{
		Kind:      &valetkeyv1.Credential_Aws{Aws: &valetkeyv1.AwsCredential{AccessKeyId: "AKIA", SecretAccessKey: "s", SessionToken: "t"}},
		ExpiresAt: timestamppb.New(time.Now().Add(15 * time.Minute)),
	}}, nil
}

// TestSourceWaits has a source's first grant wait for people, in both of its ways.
func TestSourceWaits(t *testing.T) {
	h := start(t)
	for name, opts := range map[string][]valetkey.RequestOption{"asking again": nil, "waiting": {valetkey.WithWait()}} {
		t.Run(name, func(t *testing.T) {
			a := &approvals{}
			clock := &clienttest.Clock{}
			c := dial(t, h, valetkey.WithAddr(serveAgents(t, h.Authority, a)), valetkey.WithoutReceiptChecks(), valetkey.WithClock(clock.Now))
			src := open(t, c).Source("s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}}, opts...)
			if opts == nil {
				for range 5 {
					_, err := src.Credential(t.Context())
					var refused *valetkey.Error
					if !errors.As(err, &refused) || !errors.Is(err, valetkey.ErrNeedsApproval) || refused.GrantID != "grant_x" || len(refused.Needs) != 1 {
						t.Fatalf("before: %v", err)
					}
				}
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if _, err := src.Credential(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("before: %v", err)
				}
			}
			a.approved.Store(true)
			clock.Add(6 * time.Second)
			cred, err := src.Credential(t.Context())
			must(t, err)
			if n := a.asked.Load(); n != 1 || cred.GrantID() != "grant_x" {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestSentinels holds the list of sentinels against the wire contract.
func TestSentinels(t *testing.T) {
	all := []error{
		valetkey.ErrInvalidRequest, valetkey.ErrUnauthenticated, valetkey.ErrUnknownTrustDomain, valetkey.ErrSVIDExpired, valetkey.ErrWrongAudience,
		valetkey.ErrCallerNotAllowed, valetkey.ErrUnknownScope, valetkey.ErrStaleScopeVersion, valetkey.ErrInvalidParameter, valetkey.ErrTTLTooLong,
		valetkey.ErrPolicyTooLarge, valetkey.ErrUnproven, valetkey.ErrDenied, valetkey.ErrNeedsApproval, valetkey.ErrPolicyFailed, valetkey.ErrRateLimited, valetkey.ErrFrozen,
		valetkey.ErrTaskNotFound, valetkey.ErrTaskClosed, valetkey.ErrGrantNotFound, valetkey.ErrGrantEnded, valetkey.ErrIdempotencyConflict,
		valetkey.ErrAlreadyIssued, valetkey.ErrUpstreamUnavailable, valetkey.ErrUpstreamRefused, valetkey.ErrUpstreamInvalid,
		valetkey.ErrLedgerUnavailable, valetkey.ErrStoreDamaged, valetkey.ErrInvalidCatalog, valetkey.ErrRecordNotFound, valetkey.ErrInternal,
		valetkey.ErrRejected, valetkey.ErrLapsed, valetkey.ErrInvalidApproval, valetkey.ErrNotEligible, valetkey.ErrNotPending, valetkey.ErrOutlivesGrant,
	}
	kinds := map[string]string{"ERROR_REASON_REJECTED": "DENIED", "ERROR_REASON_LAPSED": "GRANT_ENDED"}
	for n, name := range valetkeyv1.ErrorReason_name {
		if n == 0 {
			continue
		}
		found := 0
		for _, s := range all {
			switch is := errors.Is(&valetkey.Error{Reason: valetkeyv1.ErrorReason(n)}, s); {
			case s.Error() == kinds[name]:
				if !is {
					t.Errorf("%s is no %v", name, s)
				}
			case is:
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s has %d sentinels", name, found)
		}
	}
}
