package vaultplugin_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

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
					if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
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
				if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
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
