package vaultplugin_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/broker/evidence"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// pendings are the requests that people are asked for.
func (p *patientMount) pendings(t *testing.T) (ids []string) {
	t.Helper()
	list, err := p.ApproverClient(p.people[0]).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
	must(t, err)
	for _, w := range list.GetPending() {
		ids = append(ids, w.GetGrant().GetId())
	}
	return ids
}

// withdraw has the operator end a request, and what it left be swept.
func (p *patientMount) withdraw(t *testing.T, id string) {
	t.Helper()
	_, err := p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: id, Cause: "test"})
	must(t, err)
	must(t, p.rollback())
}

func (p *patientMount) approve(t *testing.T, id string) {
	t.Helper()
	for _, person := range p.people {
		_, err := p.Decide(person, id, evidence.Approve)
		must(t, err)
	}
}

// because is rebuild with something else said to people.
func (p *patientMount) because(ctx context.Context, why string) (*logical.Response, error) {
	return p.call(ctx, logical.ReadOperation, "creds/s3-bucket-rebuild",
		map[string]any{"bucket": "prod", "task": p.task, "justification": why})
}

func idOf(resp *logical.Response) string {
	if resp == nil {
		return ""
	}
	data, _ := resp.Data["data"].(map[string]any)
	id, _ := data["id"].(string)
	return id
}

// TestAskedAtOnce has several ask for the same, before any of them has an answer.
func TestAskedAtOnce(t *testing.T) {
	t.Parallel()
	for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, inTask)
			ids, group := make([]string, 4), sync.WaitGroup{}
			for i := range ids {
				group.Go(func() {
					resp, err := p.rebuild(t.Context())
					answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
					ids[i] = idOf(resp)
				})
			}
			group.Wait()
			waits := p.pendings(t)
			if len(waits) != 1 || len(p.entries(t)) != 1 {
				t.Fatalf("people are asked for %v, and storage has %d", waits, len(p.entries(t)))
			}
			for _, id := range ids {
				if id != waits[0] {
					t.Errorf("one was answered with %q, which is not %q", id, waits[0])
				}
			}
			p.withdraw(t, waits[0])
			p.empty(t)
		})
	}
}

// wantPeople has policy want people for what it gave without.
func (p *patientMount) wantPeople(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.Catalog, "policies", "storage.cedar"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(wantsOne)
	must(t, err)
	must(t, f.Close())
	_, err = p.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	must(t, err)
}

// TestDirectTakesNoTurns has one ask while another's request for the same is being written down, of
// what was given without people before.
func TestDirectTakesNoTurns(t *testing.T) {
	t.Parallel()
	for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, inTask)
			more := map[string]any{}
			if inTask {
				more["task"] = p.task
			}
			_, err := p.creds(t.Context(), more)
			must(t, err)
			held, release := make(chan struct{}), make(chan struct{})
			var writes atomic.Int32
			p.store.hook(func(s *storage) {
				s.put = func(key string) error {
					if strings.HasPrefix(key, "wal/") && writes.Add(1) == 1 {
						close(held)
						<-release
					}
					return nil
				}
			})
			var group sync.WaitGroup
			group.Go(func() {
				if _, err := p.creds(t.Context(), more); err != nil {
					t.Error(err)
				}
			})
			<-held
			soon, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := p.creds(soon, more); err != nil {
				t.Errorf("the other: %v", err)
			}
			close(release)
			group.Wait()
		})
	}
}

// TestPeopleComeToBeNeeded has several ask at once for what was given without people, and is not
// any more.
func TestPeopleComeToBeNeeded(t *testing.T) {
	t.Parallel()
	for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, inTask)
			more := map[string]any{}
			if inTask {
				more["task"] = p.task
			}
			_, err := p.creds(t.Context(), more)
			must(t, err)
			p.wantPeople(t)
			ids, group := make([]string, 4), sync.WaitGroup{}
			for i := range ids {
				group.Go(func() {
					resp, err := p.creds(t.Context(), more)
					answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
					ids[i] = idOf(resp)
				})
			}
			group.Wait()
			waits := p.pendings(t)
			if len(waits) != 1 || len(p.entries(t)) != 1 {
				t.Fatalf("people are asked for %v, and storage has %d", waits, len(p.entries(t)))
			}
			for _, id := range ids {
				if id != waits[0] {
					t.Errorf("one was answered with %q, which is not %q", id, waits[0])
				}
			}
		})
	}
}

// TestTurnsAreBounded is that a caller's time bounds its waiting for its turn.
func TestTurnsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	held, release := make(chan struct{}), make(chan struct{})
	p.store.hook(func(s *storage) {
		s.put = func(key string) error {
			if strings.HasPrefix(key, "requests/") {
				close(held)
				<-release
			}
			return nil
		}
	})
	var group sync.WaitGroup
	var id string
	group.Go(func() {
		resp, err := p.rebuild(t.Context())
		answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
		id = idOf(resp)
	})
	<-held
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.rebuild(gone); err == nil || !strings.Contains(err.Error(), "another who asks for the same") {
		t.Errorf("got %v", err)
	}
	close(release)
	group.Wait()
	p.heal()
	p.withdraw(t, id)
	p.empty(t)
}

// TestSameInTask has a second caller say something else to people in the same task:
// to the broker that is the request that waits already, and no failure of the second
// is the first's.
func TestSameInTask(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		p := newPatientMount(t, true)
		id := p.ask(t)
		dead, cancel := context.WithCancel(t.Context())
		defer cancel()
		// The process ends with whatever storage does next.
		p.store.hook(func(s *storage) {
			s.delete = func(string) error {
				cancel()
				s.hook(func(s *storage) { s.put = func(string) error { return errKilled } })
				p.backend.Cleanup(context.Background())
				return errKilled
			}
		})
		if resp, err := p.because(dead, "another reason"); err == nil || resp != nil && idOf(resp) != id {
			t.Fatalf("an answer came: %v, %v", resp, err)
		}
		p.heal()
		p.crash(t)
		p.approve(t, id)
		resp, err := p.request(t.Context(), id)
		must(t, err)
		must(t, p.rollback())
		if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_ACTIVE || p.Minter.Live() != 1 {
			t.Errorf("it is %s under who has it, and %d credentials work", state, p.Minter.Live())
		}
		_, err = p.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: p.store, Secret: resp.Secret})
		must(t, err)
		p.empty(t)
	})
	for name, fault := range map[string]func(s *storage){
		"writing fails":  func(s *storage) { s.put = func(string) error { return errFault } },
		"deleting fails": func(s *storage) { s.delete = func(string) error { return errFault } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatientMount(t, true)
			id := p.ask(t)
			p.store.hook(fault)
			if resp, _ := p.because(t.Context(), "another reason"); resp != nil && idOf(resp) != id {
				t.Errorf("it is another request: %v", resp)
			}
			p.heal()
			if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_PENDING {
				t.Errorf("it is %s under who waits for it", state)
			}
			p.approve(t, id)
			p.gives(t, id)
			p.empty(t)
		})
	}
	t.Run("the first cannot be written down", func(t *testing.T) {
		t.Parallel()
		p := newPatientMount(t, true)
		p.store.hook(func(s *storage) { s.put = on(errFault) })
		if resp, err := p.rebuild(t.Context()); err == nil || resp != nil {
			t.Errorf("an answer came: %v", resp)
		}
		p.heal()
		if waits := p.pendings(t); len(waits) > 0 {
			t.Errorf("people are asked for %v, of which nobody was told", waits)
		}
		p.empty(t)
	})
}

// TestRenewedMeanwhile has a lease renewed between the broker's answer to a read and
// its being written down. Policy has come to want people for both, and in one task
// they are the same request to the broker.
func TestRenewedMeanwhile(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, true)
	lease, err := p.creds(t.Context(), map[string]any{"task": p.task})
	must(t, err)
	p.wantPeople(t)
	held, release := make(chan struct{}), make(chan struct{})
	p.store.hook(func(s *storage) {
		s.put = func(key string) error {
			if strings.HasPrefix(key, "requests/") {
				close(held)
				<-release
			}
			return nil
		}
	})
	var group sync.WaitGroup
	group.Go(func() {
		_, err := p.creds(t.Context(), map[string]any{"task": p.task})
		answered(t, err, http.StatusForbidden, "NEEDS_APPROVAL")
	})
	<-held
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.backend.HandleRequest(soon, &logical.Request{Operation: logical.RenewOperation, Storage: p.store, Secret: lease.Secret}); err == nil {
		t.Error("it is renewed")
	}
	close(release)
	group.Wait()
	p.heal()
	waits := p.pendings(t)
	if len(waits) != 1 {
		t.Fatalf("people are asked for %v", waits)
	}
	p.withdraw(t, waits[0])
	_, err = p.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: p.store, Secret: lease.Secret})
	must(t, err)
	p.empty(t)
}

// TestLeftInTheLog kills the plugin when a request is written down and its log entry
// is not yet forgotten, and has people approve it before Vault rolls that back.
func TestLeftInTheLog(t *testing.T) {
	t.Parallel()
	p := newPatientMount(t, false)
	p.killed(t, func(p *patientMount, die func()) {
		p.store.hook(func(s *storage) { s.delete = func(string) error { die(); return errKilled } })
	}, p.rebuild)
	id := p.ask(t)
	p.approve(t, id)
	// Where the entry cannot be forgotten nothing is minted, and the approval stands.
	p.store.hook(func(s *storage) { s.delete = func(string) error { return errFault } })
	if resp, err := p.request(t.Context(), id); err == nil || resp != nil {
		t.Errorf("an answer came: %v", resp)
	}
	p.heal()
	if made := len(p.Minter.Secrets()); made > 0 {
		t.Errorf("%d were minted", made)
	}
	resp, err := p.request(t.Context(), id)
	must(t, err)
	must(t, p.rollback())
	if state := p.State(id); state != valetkeyv1.GrantState_GRANT_STATE_ACTIVE || p.Minter.Live() != 1 {
		t.Errorf("it is %s under who has it, and %d credentials work", state, p.Minter.Live())
	}
	_, err = p.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: p.store, Secret: resp.Secret})
	must(t, err)
	p.empty(t)
}
