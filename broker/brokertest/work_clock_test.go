package brokertest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// What was put off while the clock was ahead is not put off for the length of the
// jump once it was put right.
func TestClockThatWasAheadPutsNoRevocationOff(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	tried := make(chan struct{}, 64)
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(mint.Handle) error { tried <- struct{}{}; return errors.New("down") }
	})
	if _, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1")); err != nil {
		t.Fatal(err)
	}
	h.Clock.Add(48 * time.Hour)
	<-tried // the grant has expired, by that clock
	h.Clock.Add(-48 * time.Hour)
	h.Minter.Set(func(m *brokertest.Minter) { m.OnRevoke = nil })
	brokertest.Eventually(t, "nothing works upstream", func() bool {
		h.Clock.Add(time.Second)
		return h.Minter.Live() == 0
	})
}

// Likewise for an intent whose outcome could not be written.
func TestClockThatWasAheadLeavesNoIntentOpen(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	id, now := spiffeid.RequireFromString(brokertest.Agent), time.Now()
	svid, err := h.Authority.X509SVID(id, now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	src := h.Authority.Source(id)
	src.Fix(svid)
	c := valetkeyv1.NewAgentServiceClient(h.DialFrom(src))
	h.Clock.Add(50 * time.Minute)
	task := openTask(t, c, "task-key-1")
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error { f.before.Store(true); return nil }
	})
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.Unavailable, "LEDGER_UNAVAILABLE")
	if h.Minter.Live() != 1 {
		t.Fatal("nothing was minted")
	}
	h.Clock.Add(-50 * time.Minute)
	f.before.Store(false)
	brokertest.Eventually(t, "nothing works upstream", func() bool {
		h.Clock.Add(time.Second)
		return h.Minter.Live() == 0
	})
}

// A grant that was made while the clock was ahead can be minted from for as long as
// was approved, and not for the length of the jump as well.
func TestGrantOfAClockThatWasAheadEnds(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	id, now := spiffeid.RequireFromString(brokertest.Agent), time.Now()
	svid, err := h.Authority.X509SVID(id, now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	src := h.Authority.Source(id)
	src.Fix(svid)
	c := valetkeyv1.NewAgentServiceClient(h.DialFrom(src))
	h.Clock.Add(50 * time.Minute)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Ttl = durationpb.New(5 * time.Minute)
	resp, err := c.RequestGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	h.Clock.Add(-50 * time.Minute)
	mint := func(key string) error {
		_, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: key, GrantId: resp.GetGrant().GetId()})
		return err
	}
	if err := mint("mint-key-1"); err != nil {
		t.Fatal(err)
	}
	h.Clock.Add(4 * time.Minute)
	if err := mint("mint-key-2"); err != nil {
		t.Error(err)
	}
	h.Clock.Add(2 * time.Minute)
	wantReason(t, mint("mint-key-3"), codes.FailedPrecondition, "GRANT_ENDED")
	brokertest.Eventually(t, "its end is on the record", func() bool { return has(t, h, "grant.expired", "") })
}
