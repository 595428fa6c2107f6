package vaultplugin_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestNobodyComesBack has requests end that nobody reads.
func TestNobodyComesBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *patientMount, id string){
		"lapsed": func(_ *testing.T, p *patientMount, _ string) { p.Clock.Add(quorum.DefaultWait + time.Second) },
		"rejected": func(t *testing.T, p *patientMount, id string) {
			t.Helper()
			_, err := p.Decide(p.people[0], id, evidence.Reject)
			must(t, err)
		},
		"approved, and rejected after it": func(t *testing.T, p *patientMount, id string) {
			t.Helper()
			for _, person := range p.people {
				_, err := p.Decide(person, id, evidence.Approve)
				must(t, err)
			}
			_, err := p.Decide(p.people[0], id, evidence.Reject)
			must(t, err)
		},
		"approved, and over": func(t *testing.T, p *patientMount, id string) {
			t.Helper()
			for _, person := range p.people {
				_, err := p.Decide(person, id, evidence.Approve)
				must(t, err)
			}
			must(t, p.rollback()) // which leaves it alone
			p.Clock.Add(quorum.DefaultWait + time.Second)
		},
		"revoked": func(t *testing.T, p *patientMount, id string) {
			t.Helper()
			_, err := p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: id, Cause: "test"})
			must(t, err)
		},
		"given up, since the broker is away": func(t *testing.T, p *patientMount, _ string) {
			t.Helper()
			p.Stop()
			must(t, p.rollback())
			if len(p.entries(t)) != 1 {
				t.Error("it was given up at once")
			}
			key := "requests/" + p.entries(t)[0]
			e, err := p.store.Get(t.Context(), key)
			must(t, err)
			var entry map[string]any
			must(t, json.Unmarshal(e.Value, &entry))
			entry["decide_by"] = time.Now().Add(-48 * time.Hour)
			e, err = logical.StorageEntryJSON(key, entry)
			must(t, err)
			must(t, p.store.InmemStorage.Put(t.Context(), e))
			must(t, p.rollback())
			if len(p.entries(t)) != 0 {
				t.Error("it is never given up")
			}
			p.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, false)
			id := p.ask(t)
			must(t, p.rollback())
			if p.State(id) != valetkeyv1.GrantState_GRANT_STATE_PENDING || len(p.entries(t)) != 1 {
				t.Fatal("it was ended while it waits")
			}
			end(t, p, id)
			if name == "given up, since the broker is away" {
				return // its task is the operator's to close
			}
			brokertest.Eventually(t, "it is swept", func() bool {
				must(t, p.rollback())
				return len(p.entries(t)) == 0
			})
			p.empty(t)
		})
	}
}

// TestAnothersRequest is that the same which another agent asks for is its own.
func TestAnothersRequest(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	id := p.approved(t)
	p.view.EntityVal.Name = "bob"
	_, err := p.request(t.Context(), id)
	answered(t, err, http.StatusBadRequest, "GRANT_NOT_FOUND")
	other := p.ask(t)
	if other == id || len(p.entries(t)) != 2 {
		t.Error("two agents have one request")
	}
	p.view.EntityVal.Name = "alice"
	p.gives(t, id)
	_, err = p.request(t.Context(), other)
	answered(t, err, http.StatusBadRequest, "GRANT_NOT_FOUND")
	_, err = p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: other, Cause: "test"})
	must(t, err)
	must(t, p.rollback())
	p.empty(t)
}

// TestApproverLeaves has what people approved be void by the time it is read.
func TestApproverLeaves(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	id := p.approved(t)
	again := func(people ...brokertest.Person) {
		t.Helper()
		p.Stop()
		p.SetPeople(people...)
		p.Start()
		_, err := p.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"address": p.Addr()})
		must(t, err)
	}
	again(p.people[0], brokertest.NewPerson(t, "quin", "sre"))
	_, err := p.request(t.Context(), id)
	answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
	if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("it is %s", state)
	}
	p.empty(t)
	// With fewer people than it needs nobody is asked.
	again(p.people[0])
	resp, err := p.rebuild(t.Context())
	answered(t, err, http.StatusForbidden, "fewer people are listed who could approve it")
	answered(t, err, http.StatusForbidden, "nobody is asked")
	if resp != nil {
		t.Errorf("the answer is %v", resp)
	}
	p.empty(t)
}

// TestFrozenKeepsTheApproval has a refusal that may go better later.
func TestFrozenKeepsTheApproval(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	id := p.approved(t)
	freeze := func(frozen bool) {
		t.Helper()
		_, err := p.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: aliceID, Frozen: frozen, KeepLive: true, Cause: "test"})
		must(t, err)
	}
	freeze(true)
	for range 2 {
		_, err := p.request(t.Context(), id)
		answered(t, err, http.StatusForbidden, "FROZEN")
	}
	freeze(false)
	p.gives(t, id)
	p.empty(t)
}

// TestNoSecretWaits greps all that was ever put into storage.
func TestNoSecretWaits(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	p.gives(t, p.approved(t))
	secrets := p.Minter.Secrets()
	if len(secrets) != 1 {
		t.Fatalf("%d were minted", len(secrets))
	}
	requests := 0
	for _, text := range p.store.ever {
		if strings.Contains(text, secrets[0]) {
			t.Errorf("a secret is stored in %.60s", text)
		}
		if strings.HasPrefix(text, "requests/") {
			requests++
		}
	}
	if requests != 2 {
		t.Errorf("a request was put %d times", requests)
	}
	p.empty(t)
}

// TestStandbyHandsNothingOver has a performance standby leave requests to the active
// node.
func TestStandbyHandsNothingOver(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	id := p.approved(t)
	p.view.ReplicationStateVal = consts.ReplicationPerformanceStandby
	if _, err := p.request(t.Context(), id); !errors.Is(err, logical.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	p.Clock.Add(quorum.DefaultWait + time.Second)
	brokertest.Eventually(t, "it is over", func() bool { return p.State(id) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
	must(t, p.rollback())
	if len(p.entries(t)) != 1 {
		t.Error("a standby writes")
	}
	p.view.ReplicationStateVal = 0
	// Where Vault does not say what it is, the claim's write does.
	must(t, p.rollback())
	next := p.approved(t)
	p.store.hook(func(s *storage) { s.put = func(string) error { return logical.ErrReadOnly } })
	if _, err := p.request(t.Context(), next); !errors.Is(err, logical.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	p.heal()
	p.gives(t, next)
	p.empty(t)
}

// TestUnconfiguredSweeps is that a mount which was never configured says nothing, and
// one that is no more keeps what waits.
func TestUnconfiguredSweeps(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	config, err := p.store.Get(t.Context(), "config")
	must(t, err)
	id := p.ask(t)
	_, err = p.call(t.Context(), logical.DeleteOperation, "config", nil)
	must(t, err)
	must(t, p.rollback())
	if len(p.entries(t)) != 1 {
		t.Error("it is forgotten")
	}
	must(t, p.store.InmemStorage.Put(t.Context(), config))
	_, err = p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: id, Cause: "test"})
	must(t, err)
	must(t, p.rollback())
	p.empty(t)
}
