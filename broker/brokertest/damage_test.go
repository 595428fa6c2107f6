package brokertest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// latching is a store that can be found damaged.
type latching struct {
	store.Store
	damaged atomic.Bool
}

func (l *latching) Damage() error {
	if l.damaged.Load() {
		return fmt.Errorf("%w: page 7", store.ErrDamaged)
	}
	return l.Store.Damage()
}

// Damage that is found while the broker runs stops minting, also what has its intent
// already, and stops no end of what was minted.
func TestDamageStopsMintingAlone(t *testing.T) {
	var s *latching
	h := brokertest.New(t, brokertest.Config{Wrap: func(st store.Store) store.Store { s = &latching{Store: st}; return s }})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	g, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	minted := len(h.Minter.Secrets())
	s.damaged.Store(true)
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-2"))
	wantReason(t, err, codes.FailedPrecondition, "STORE_DAMAGED")
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: g.GetGrant().GetId()})
	wantReason(t, err, codes.FailedPrecondition, "STORE_DAMAGED")
	if n := len(h.Minter.Secrets()); n != minted {
		t.Errorf("%d were minted", n-minted)
	}
	brokertest.Eventually(t, "it is on the record", func() bool { return has(t, h, "store.damaged", "") })
	for range 3 { // a write that goes well changes nothing of it
		openTask(t, c, "task-key-2")
		if err := h.Broker.Ready(); !errors.Is(err, store.ErrDamaged) || h.Broker.Operable() != nil {
			t.Errorf("ready: %v, operable: %v", err, h.Broker.Operable())
		}
	}
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()}); err != nil {
		t.Error(err)
	}
	brokertest.Eventually(t, "what was minted ends", func() bool { return h.Minter.Live() == 0 })
	if n := strings.Count(h.Logs(), "the store is damaged: nothing is minted"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// Every credential's end is written before the credential is.
func TestTheEndIsThereBeforeTheCredential(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	held := func(o mint.Order) error {
		return h.Store.View(t.Context(), func(r store.Reader) error {
			i, err := r.Issuance(o.GrantID, o.IssuanceID)
			if err == nil && i.State != store.IssuanceIntended {
				t.Errorf("the issuance is %s", i.State)
			}
			w, werr := r.Work(o.GrantID, o.IssuanceID)
			if werr == nil && (!w.Held || len(w.Handle) == 0) {
				t.Errorf("the work is %+v", w)
			}
			return errors.Join(err, werr)
		})
	}
	h.Minter.Set(func(m *brokertest.Minter) { m.BeforeMint = held })
	if _, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1")); err != nil {
		t.Fatal(err)
	}
}
