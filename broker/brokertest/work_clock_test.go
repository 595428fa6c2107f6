package brokertest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

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
