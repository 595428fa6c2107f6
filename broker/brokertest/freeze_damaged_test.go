package brokertest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// unreadable is a store in which one grant's issuances are damaged.
type unreadable struct {
	store.Store
	grant atomic.Value
}

func (u *unreadable) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	return u.Store.Update(ctx, func(t store.Tx) error { return fn(unreadableTx{t, u}) })
}

type unreadableTx struct {
	store.Tx
	u *unreadable
}

func (t unreadableTx) Issuances(f store.IssuanceFilter) ([]store.Issuance, error) {
	if f.GrantID != "" && f.GrantID == t.u.grant.Load() {
		return nil, fmt.Errorf("%w: page 7", store.ErrDamaged)
	}
	return t.Tx.Issuances(f)
}

func (u *unreadable) View(ctx context.Context, fn func(store.Reader) error) error {
	return u.Store.View(ctx, func(r store.Reader) error { return fn(unreadableReader{r, u}) })
}

type unreadableReader struct {
	store.Reader
	u *unreadable
}

func (r unreadableReader) Minted(grantID string) (bool, error) {
	if grantID == r.u.grant.Load() {
		return false, fmt.Errorf("%w: page 7", store.ErrDamaged)
	}
	return r.Reader.Minted(grantID)
}

// A grant whose issuances cannot be read keeps no other from an operator's list.
func TestADamagedGrantBlindsNoOperator(t *testing.T) {
	var u *unreadable
	h := brokertest.New(t, brokertest.Config{Wrap: func(st store.Store) store.Store { u = &unreadable{Store: st}; return u }})
	u.grant.Store(granted(t, h, domain+"/agent/alice/s1"))
	granted(t, h, domain+"/agent/bob/s1")
	resp, err := h.OperatorClient().ListGrants(t.Context(), &valetkeyv1.OperatorServiceListGrantsRequest{})
	if err != nil || len(resp.GetGrants()) != 2 {
		t.Errorf("%v, %v", resp, err)
	}
}

// A grant that cannot be ended keeps nobody from being frozen.
func TestFreezeHoldsThoughAnEndIsDamaged(t *testing.T) {
	var u *unreadable
	h := brokertest.New(t, brokertest.Config{Wrap: func(st store.Store) store.Store { u = &unreadable{Store: st}; return u }})
	u.grant.Store(granted(t, h, domain+"/agent/alice/s1"))
	resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
	if err != nil || !resp.GetUnfinished() {
		t.Fatalf("%v, %v", resp, err)
	}
	c := h.AgentClient(domain + "/agent/bob/s1")
	_, err = c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
}

// haunted is a store in which what was open once is found as open for ever.
type haunted struct {
	store.Store
	found atomic.Pointer[[]store.Grant]
}

func (h *haunted) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	return h.Store.Update(ctx, func(t store.Tx) error { return fn(hauntedTx{t, h}) })
}

type hauntedTx struct {
	store.Tx
	h *haunted
}

func (t hauntedTx) OpenUnder(p store.Path, limit int) ([]store.Grant, error) {
	gs, err := t.Tx.OpenUnder(p, limit)
	if len(gs) > 0 {
		t.h.found.Store(&gs)
	}
	if old := t.h.found.Load(); old != nil {
		return slices.Clone(*old), err
	}
	return gs, err
}

// A sweep that finds again what it has ended puts no end after end on the record.
func TestASweepStopsWhereItEndsNothing(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Wrap: func(st store.Store) store.Store { return &haunted{Store: st} }})
	granted(t, h, domain+"/agent/alice/s1")
	resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
	if err != nil || !resp.GetUnfinished() {
		t.Errorf("%v, %v", resp, err)
	}
	n := 0
	for _, r := range h.Records() {
		if strings.Contains(r, `"`+grant.GrantRevoked+`"`) {
			n++
		}
	}
	if n < 1 || n > 4 {
		t.Errorf("%d ends of one grant are on the record", n)
	}
}

// A grant that cannot be ended keeps nobody else's from being ended: not by an order over both, and not by
// their time.
func TestADamagedGrantStopsNobodyElsesEnd(t *testing.T) {
	freeze := func(t *testing.T, h *brokertest.Harness) {
		resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
		if err != nil || !resp.GetUnfinished() {
			t.Errorf("%v, %v", resp, err)
		}
	}
	expire := func(_ *testing.T, h *brokertest.Harness) { h.Clock.Add(20 * time.Minute) }
	for name, c := range map[string]struct {
		end  func(*testing.T, *brokertest.Harness)
		want string // the record's type
	}{
		"expiry": {expire, grant.GrantExpired},
		"freeze": {freeze, grant.GrantRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			var u *unreadable
			h := brokertest.New(t, brokertest.Config{Wrap: func(st store.Store) store.Store { u = &unreadable{Store: st}; return u }})
			damaged, other := granted(t, h, domain+"/agent/alice/s1"), granted(t, h, domain+"/agent/bob/s1")
			u.grant.Store(damaged)
			c.end(t, h)
			ended := func(grant string) bool {
				return slices.ContainsFunc(h.Records(), func(r string) bool { return strings.Contains(r, `"`+c.want+`"`) && strings.Contains(r, grant) })
			}
			brokertest.Eventually(t, "the other grant has ended", func() bool { return ended(other) })
			if ended(damaged) {
				t.Error("the damaged one has: its credentials cannot have")
			}
		})
	}
}
