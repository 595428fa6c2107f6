package vaultplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// hungUp has a caller hang up while its credential is minted.
func (p *patientMount) hungUp(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint = func(mint.Order) error { cancel(); return nil } })
	if resp, err := p.request(ctx, id); err == nil || resp != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("an answer came: %v, %v", resp, err)
	}
	p.heal()
}

// TestHungUp is that a caller who is gone by the time the credential comes does not
// cost what people have approved.
func TestHungUp(t *testing.T) {
	t.Parallel()
	for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
		t.Run("and comes back, in "+in, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, inTask)
			id := p.approved(t)
			p.hungUp(t, id)
			must(t, p.rollback()) // which leaves it alone
			p.crash(t)
			p.gives(t, id)
			p.empty(t)
		})
		t.Run("and is not seen again, in "+in, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, inTask)
			id := p.approved(t)
			p.hungUp(t, id)
			if live := p.Minter.Live(); live != 1 {
				t.Errorf("%d credentials work", live)
			}
			p.Clock.Add(approval.DefaultWait + time.Second)
			brokertest.Eventually(t, "it is over", func() bool { return p.state(t, id) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
			must(t, p.rollback())
			p.empty(t)
		})
	}
}

// TestClockAhead has a claim that a node made whose clock is ahead, and that then died.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	id := p.approved(t)
	key := "requests/" + p.entries(t)[0]
	claim := func(at time.Time) {
		t.Helper()
		e, err := p.store.Get(t.Context(), key)
		must(t, err)
		var entry map[string]any
		must(t, json.Unmarshal(e.Value, &entry))
		entry["claimed"] = at
		e, err = logical.StorageEntryJSON(key, entry)
		must(t, err)
		must(t, p.store.InmemStorage.Put(t.Context(), e))
	}
	sweep := func() {
		t.Helper()
		_, err := p.call(t.Context(), logical.RollbackOperation, "", nil)
		must(t, err)
	}
	for _, young := range []time.Duration{30 * time.Second, -30 * time.Second} {
		claim(time.Now().Add(young))
		sweep()
		if len(p.entries(t)) != 1 {
			t.Fatalf("it is ended with a claim of %v", young)
		}
	}
	claim(time.Now().Add(time.Hour))
	sweep()
	if state := p.state(t, id); len(p.entries(t)) != 0 || state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("it is %s, and storage has %s", state, strings.Join(p.entries(t), ", "))
	}
	p.empty(t)
}
