package brokertest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// A revocation that is refused is open, with no outcome on the record, until its
// credential has ended by itself, and is tried at that time, however long it would
// be put off.
func TestRefusedRevocationIsTriedUntilTheDeadline(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Ttl = durationpb.New(2 * time.Minute)
	g, err := c.RequestGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	deadline := g.GetCredential().GetExpiresAt().AsTime()
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(mint.Handle) error {
			if h.Clock.Now().Before(deadline) {
				return mint.ErrRefused
			}
			return nil
		}
	})
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()}); err != nil {
		t.Fatal(err)
	}
	tries, next := 0, time.Time{}
	for next.Before(deadline) {
		brokertest.Eventually(t, "it is put off", func() bool {
			if err := h.Store.View(t.Context(), func(r store.Reader) error {
				work, err := r.DueWork(h.Clock.Now().Add(store.MaxPutOff), false, 1)
				if len(work) == 1 {
					next = work[0].NextAt
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return next.After(h.Clock.Now())
		})
		if has(t, h, "revocation.concluded", "") {
			t.Fatal("a refused revocation is concluded")
		}
		tries++
		h.Clock.Add(next.Sub(h.Clock.Now()))
	}
	if !next.Equal(deadline) || tries > 8 {
		t.Errorf("after %d tries the next is %v after the deadline", tries, next.Sub(deadline))
	}
	brokertest.Eventually(t, "it is concluded", func() bool { return has(t, h, "revocation.concluded", "") })
}

// refusedBefore puts n revocations into the work table that are due now, and have been
// tried before. Their sessions' names begin with "waiting".
func refusedBefore(t *testing.T, h *brokertest.Harness, n int) {
	t.Helper()
	now := h.Clock.Now()
	if _, err := h.Store.Update(t.Context(), func(tx store.Tx) error {
		errs := []error{tx.PutGrant(store.Grant{ID: "grant_waiting", State: store.GrantRevoked})}
		for i := range n {
			end := now.Add(time.Hour)
			handle, err := json.Marshal(mint.Handle{Provider: mint.ProviderAWS, Role: "s3", SessionName: fmt.Sprint("waiting-", i), NotAfter: end})
			id := fmt.Sprint("iss_waiting_", i)
			errs = append(errs, err,
				tx.PutIssuance(store.Issuance{ID: id, GrantID: "grant_waiting", State: store.IssuanceOrphaned, Handle: handle, NotAfter: end, At: now}),
				tx.PutWork(store.Work{ID: id, GrantID: "grant_waiting", Attempts: 8, Handle: handle, CreatedAt: now, NextAt: now}))
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatal(err)
	}
}

// However many revocations are refused, and due before it, another one is carried
// upstream without waiting for a tick with each batch of them.
func TestRefusedRevocationsKeepNobodyWaiting(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(got mint.Handle) error {
			if strings.HasPrefix(got.SessionName, "waiting") {
				return mint.ErrRefused
			}
			return nil
		}
	})
	refusedBefore(t, h, 1000)
	h.Clock.Add(time.Second)
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()}); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
}

// Revocations whose answers cannot be written are not tried in a hurry: they stay due.
func TestRevocationsWaitForTheStore(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	var tries atomic.Int32
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(mint.Handle) error { f.before.Store(true); tries.Add(1); return mint.ErrRefused }
	})
	refusedBefore(t, h, 200)
	brokertest.Eventually(t, "the first try", func() bool { return tries.Load() > 0 })
	began := time.Now()
	brokertest.Eventually(t, "a third batch", func() bool { return tries.Load() > 2*64 })
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("a third batch after %v", took)
	}
}
