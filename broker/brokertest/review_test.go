package brokertest_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// What may exist upstream is revoked without a restart, whatever kept the
// outcome off the record.
func TestStaleIntentIsRevokedWhileRunning(t *testing.T) {
	for name, after := range map[string]func(*failing) error{
		"panic":      func(*failing) error { panic("boom") },
		"store down": func(f *failing) error { f.before.Store(true); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			var f *failing
			h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
			c := h.AgentClient(brokertest.Agent)
			task := openTask(t, c, "task-key-1")
			h.Minter.Set(func(m *brokertest.Minter) { m.AfterMint = func(mint.Order) error { return after(f) } })
			if _, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1")); err == nil {
				t.Fatal("it was delivered")
			}
			f.before.Store(false)
			h.Clock.Add(2 * time.Minute)
			brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
			wantRecord(t, h, "issuance.orphaned", "")
		})
	}
}

// A slow minting whose intent was closed as stale delivers nothing.
func TestSlowMintingFindsItsIntentClosed(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error {
			h.Clock.Add(2 * time.Minute)
			brokertest.Eventually(t, "the intent is closed", func() bool { return has(t, h, "issuance.orphaned", "") })
			return nil
		}
	})
	_, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.FailedPrecondition, "GRANT_ENDED")
	brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
}

func TestAgentFrozenWhileMinting(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	task := openTask(t, c, "task-key-1")
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error {
			_, err := op.SetFreeze(context.Background(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: true, Cause: "incident"})
			return err
		}
	})
	_, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
	wantRecord(t, h, "issuance.orphaned", "FROZEN")
	for range 2 { // a repeat gets the same answer
		_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-2"))
		wantReason(t, err, codes.PermissionDenied, "FROZEN")
	}
}

func TestCountedRefusalsOutliveTheStoresFault(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	c := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/database")
	for range 30 {
		_, err := c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	}
	f.before.Store(true)
	if err := h.Broker.Close(); err == nil {
		t.Error("the counts were recorded on a store that is down")
	}
	f.before.Store(false)
	h.Stop() // closes, and so records, again
	h.Start()
	wantRecord(t, h, "refusal.summary", "CALLER_NOT_ALLOWED")
}

// One that was to be recorded by itself while the store was down is counted.
func TestRefusalOutlivesTheStoresFault(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	c := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/database")
	f.before.Store(true)
	_, err := c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	f.before.Store(false)
	h.Clock.Add(2 * time.Minute)
	brokertest.Eventually(t, "the refusal is on the record", func() bool { return has(t, h, "refusal.summary", "CALLER_NOT_ALLOWED") })
}
