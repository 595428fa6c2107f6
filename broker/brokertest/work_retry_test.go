package brokertest_test

import (
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
				work, err := r.DueWork(h.Clock.Now().Add(store.MaxPutOff), 1)
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
