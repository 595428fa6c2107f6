package vaultplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// patientMount is a mount where people may approve.
type patientMount struct {
	*mount
	people []brokertest.Person
	task   string // of the caller's; empty for tasks of the requests' own
}

func newPatientMount(t *testing.T, inTask bool) *patientMount {
	t.Helper()
	p := &patientMount{people: approvers(t)}
	p.mount = newLimited(t, guard.Config{RatePerMinute: 600_000, Burst: 10_000}, nil, p.people...)
	if inTask {
		resp, err := p.call(t.Context(), logical.UpdateOperation, "tasks", map[string]any{"purpose": "a test"})
		must(t, err)
		p.task, _ = resp.Data["task"].(string)
	}
	return p
}

// rebuild asks for what people have to approve.
func (p *patientMount) rebuild(ctx context.Context) (*logical.Response, error) {
	data := map[string]any{"bucket": "prod", "purpose": "a test"}
	if p.task != "" {
		data["task"] = p.task
	}
	return p.call(ctx, logical.ReadOperation, "creds/s3-bucket-rebuild", data)
}

// ask is rebuild where it has to wait.
func (p *patientMount) ask(t *testing.T) string {
	t.Helper()
	resp, err := p.rebuild(t.Context())
	answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
	if resp == nil {
		t.FailNow()
	}
	data, _ := resp.Data["data"].(map[string]any)
	id, _ := data["id"].(string)
	return id
}

func (p *patientMount) approved(t *testing.T) string {
	t.Helper()
	id := p.ask(t)
	p.approve(t, id)
	return id
}

func (p *patientMount) request(ctx context.Context, id string) (*logical.Response, error) {
	return p.call(ctx, logical.ReadOperation, "requests/"+id, nil)
}

func (p *patientMount) state(t *testing.T, id string) valetkeyv1.GrantState {
	t.Helper()
	g, err := p.OperatorClient().GetGrant(t.Context(), &valetkeyv1.GetGrantRequest{GrantId: id})
	must(t, err)
	return g.GetGrant().GetState()
}

// gives reads a credential from a request, and ends it.
func (p *patientMount) gives(t *testing.T, id string) {
	t.Helper()
	resp, err := p.request(t.Context(), id)
	must(t, err)
	if resp.Secret == nil || resp.Data["secret_key"] == nil {
		t.Fatalf("the request is %v", resp.Data["state"])
	}
	_, err = p.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: p.store, Secret: resp.Secret})
	must(t, err)
}

// entries are the requests in storage.
func (p *patientMount) entries(t *testing.T) []string {
	t.Helper()
	keys, err := logical.CollectKeys(t.Context(), logical.NewStorageView(p.store, "requests/"))
	must(t, err)
	return keys
}

// empty is when nothing is left behind, once the caller's task is closed.
func (p *patientMount) empty(t *testing.T) {
	t.Helper()
	brokertest.Eventually(t, "no credential works", func() bool { return p.Minter.Live() == 0 })
	if p.task != "" {
		_, err := p.call(t.Context(), logical.DeleteOperation, "tasks/"+p.task, nil)
		must(t, err)
	}
	if left := p.entries(t); len(left) > 0 {
		t.Errorf("storage keeps %d requests", len(left))
	}
	p.clean(t)
}

// on has calls of storage for requests fail.
func on(err error) func(string) error {
	return func(key string) error {
		if strings.HasPrefix(key, "requests/") {
			return err
		}
		return nil
	}
}

func (p *patientMount) heal() {
	p.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint, mi.AfterMint = nil, nil })
	p.store.hook(func(s *storage) { s.put, s.delete = nil, nil })
}

// TestHandOverFaults fails each step of handing over what people have approved.
func TestHandOverFaults(t *testing.T) {
	t.Parallel()
	unavailable := func(mint.Order) error { return mint.ErrUnavailable }
	for name, tc := range map[string]struct {
		fault func(*patientMount)
		// stands says that the approval is not lost with it.
		stands bool
	}{
		"the claim cannot be written": {func(p *patientMount) { p.store.hook(func(s *storage) { s.put = on(errFault) }) }, true},
		"nothing is minted": {func(p *patientMount) {
			p.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint = unavailable })
		}, true},
		"the answer of STS is lost": {func(p *patientMount) {
			p.Minter.Set(func(mi *brokertest.Minter) { mi.AfterMint = unavailable })
		}, true},
		"nothing is minted, and the claim cannot be taken back": {func(p *patientMount) {
			p.Minter.Set(func(mi *brokertest.Minter) {
				mi.BeforeMint = func(mint.Order) error {
					p.store.hook(func(s *storage) { s.put = on(errFault) })
					return mint.ErrUnavailable
				}
			})
		}, false},
		"it cannot be committed": {func(p *patientMount) { p.store.hook(func(s *storage) { s.delete = on(errFault) }) }, false},
	} {
		for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
			t.Run(name+" in "+in, func(t *testing.T) {
				t.Parallel()
				p := newPatientMount(t, inTask)
				id := p.approved(t)
				tc.fault(p)
				if resp, err := p.request(t.Context(), id); err == nil {
					t.Fatalf("a credential came: %v", resp)
				}
				p.heal()
				if tc.stands {
					p.gives(t, id)
				} else {
					must(t, p.rollback())
					if state := p.state(t, id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
						t.Errorf("it is %s", state)
					}
				}
				p.empty(t)
			})
		}
	}
}

// TestKilledHandingOver ends the plugin's process at each step between the reading of
// a request and its lease.
func TestKilledHandingOver(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(p *patientMount, die func()){
		"after the claim": func(p *patientMount, die func()) {
			p.store.hook(func(s *storage) {
				s.put = func(key string) error {
					s.hook(func(s *storage) { s.put = nil })
					must(p.T, s.InmemStorage.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(lastOf(s, key))}))
					die()
					return errKilled
				}
			})
		},
		"before the minting": func(p *patientMount, die func()) {
			p.Minter.Set(func(mi *brokertest.Minter) { mi.BeforeMint = func(mint.Order) error { die(); return nil } })
		},
		"after the minting": func(p *patientMount, die func()) {
			p.Minter.Set(func(mi *brokertest.Minter) { mi.AfterMint = func(mint.Order) error { die(); return nil } })
		},
		"before the commit": func(p *patientMount, die func()) {
			p.store.hook(func(s *storage) {
				s.delete = func(key string) error {
					if strings.HasPrefix(key, "requests/") {
						die()
						return errKilled
					}
					return nil
				}
			})
		},
	} {
		for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
			t.Run(name+" in "+in, func(t *testing.T) {
				t.Parallel()
				p := newPatientMount(t, inTask)
				id := p.approved(t)
				p.killed(t, kill, func(ctx context.Context) (*logical.Response, error) { return p.request(ctx, id) })
				// Until it is ended nobody gets it, and nobody is asked for the same: Vault itself
				// may send a request again whose plugin died.
				_, err := p.request(t.Context(), id)
				answered(t, err, http.StatusBadGateway, "ended within two minutes")
				_, err = p.rebuild(t.Context())
				answered(t, err, http.StatusBadGateway, "ended within two minutes")
				must(t, p.rollback())
				if state := p.state(t, id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
					t.Errorf("it is %s", state)
				}
				next := p.ask(t)
				if next == id {
					t.Error("what was ended waits")
				}
				_, err = p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: next, Cause: "test"})
				must(t, err)
				must(t, p.rollback())
				p.empty(t)
			})
		}
	}
}

// killed ends the process at a point of a call, and has a successor in its place.
func (p *patientMount) killed(t *testing.T, kill func(*patientMount, func()), call func(context.Context) (*logical.Response, error)) {
	t.Helper()
	dead, cancel := context.WithCancel(t.Context())
	defer cancel()
	kill(p, sync.OnceFunc(func() {
		cancel()
		p.store.hook(func(s *storage) {
			s.put = func(string) error { return errKilled }
			s.delete = s.put
		})
		p.backend.Cleanup(context.Background())
	}))
	resp, err := call(dead)
	if err == nil || resp != nil {
		t.Fatalf("an answer came: %v, %v", resp, err)
	}
	p.heal()
	p.crash(t)
}

// TestKilledAsking ends the process before anybody is told of a request that waits.
func TestKilledAsking(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(p *patientMount, die func()){
		"before it is written down": func(p *patientMount, die func()) {
			p.store.hook(func(s *storage) {
				s.put = func(key string) error {
					if strings.HasPrefix(key, "requests/") {
						die()
						return errKilled
					}
					return nil
				}
			})
		},
		"after it is written down": func(p *patientMount, die func()) {
			p.store.hook(func(s *storage) {
				s.put = func(key string) error {
					if strings.HasPrefix(key, "requests/") {
						must(p.T, s.InmemStorage.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(lastOf(s, key))}))
						die()
						return errKilled
					}
					return nil
				}
			})
		},
	} {
		for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
			t.Run(name+" in "+in, func(t *testing.T) {
				t.Parallel()
				p := newPatientMount(t, inTask)
				p.killed(t, kill, p.rebuild)
				must(t, p.rollback()) // Vault's log ends it, and then it is swept
				must(t, p.rollback())
				waits := p.pendings(t)
				if inTask {
					// In a task of the caller's it waits, and who asks again is told of it.
					if id := p.ask(t); len(waits) != 1 || id != waits[0] {
						t.Fatalf("people are asked for %v, and the caller is told of %s", waits, id)
					}
					p.withdraw(t, waits[0])
				} else if len(waits) > 0 {
					t.Errorf("people are asked for %v", waits)
				}
				p.empty(t)
			})
		}
	}
}

// TestNobodyComesBack has requests end that nobody reads.
func TestNobodyComesBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *patientMount, id string){
		"lapsed": func(_ *testing.T, p *patientMount, _ string) { p.Clock.Add(approval.DefaultWait + time.Second) },
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
			p.Clock.Add(approval.DefaultWait + time.Second)
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
			if p.state(t, id) != valetkeyv1.GrantState_GRANT_STATE_PENDING || len(p.entries(t)) != 1 {
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
	if state := p.state(t, id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
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
		_, err := p.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: aliceID, Frozen: frozen, Cause: "test"})
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
	p.Clock.Add(approval.DefaultWait + time.Second)
	brokertest.Eventually(t, "it is over", func() bool { return p.state(t, id) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
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
