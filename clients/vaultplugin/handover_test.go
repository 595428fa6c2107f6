package vaultplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
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
			p.Clock.Add(quorum.DefaultWait + time.Second)
			brokertest.Eventually(t, "it is over", func() bool { return p.State(id) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
			must(t, p.rollback())
			p.empty(t)
		})
	}
}

// TestHungUpOnVault is TestHungUp through a real Vault, while MinIO makes the session.
func TestHungUpOnVault(t *testing.T) {
	t.Parallel()
	g := &gate{held: make(chan struct{}, 8)}
	p := &patient{people: approvers(t)}
	p.world = newWorld(t, func(minio string) string { return g.serve(t, minio) }, p.people...)
	p.enable(t, "valetkey", nil)
	p.alice = p.login(t, "alice")
	id := p.ask(t, "hung up")
	p.approve(t, id)
	open := g.close()
	defer open()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := p.alice.Logical().ReadWithContext(ctx, "valetkey/requests/"+id)
		answered <- err
	}()
	<-g.held
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// Vault has cut the call to the plugin off by then, and another on the same
	// connection comes after that.
	eventually(t, endLimit, "Vault serves the caller no more", func() bool {
		code, all := p.raw(t, p.vault.RootToken, "sys/in-flight-req")
		if code != http.StatusOK || !strings.Contains(all, "sys/in-flight-req") {
			t.Fatalf("Vault says %d to what it serves", code)
		}
		return !strings.Contains(all, id)
	})
	if _, err := read(t, p.alice, "valetkey/scopes/s3-bucket-rebuild"); err != nil {
		t.Error(err)
	}
	open()
	s := p.request(t, id)
	if s.Data["secret_key"] == nil {
		t.Fatalf("the request is %v", s.Data["state"])
	}
	must(t, works(t, s))
	p.revoke(t, s)
	eventually(t, endLimit, "the broker has ended both upstream", func() bool {
		return p.balanced() && p.count("issuance.issued") == 2 && p.count("revocation.concluded") == 2
	})
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
	if state := p.State(id); len(p.entries(t)) != 0 || state != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("it is %s, and storage has %s", state, strings.Join(p.entries(t), ", "))
	}
	p.empty(t)
}

// wire is what is between the plugin and the broker, to be cut.
type wire struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn // locked by mu
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{Listener: l}
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				}()
			}
		}
	}()
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// TestMintedAfterAll has a minting be cut off and go on at the broker, the next be
// refused, and the first come to its end: nobody has its credential.
func TestMintedAfterAll(t *testing.T) {
	t.Parallel()
	for in, inTask := range map[string]bool{"a task of its own": false, "a task of the caller's": true} {
		for what, end := range map[string]func(t *testing.T, p *patientMount, id string){
			"swept": func(t *testing.T, p *patientMount, _ string) { t.Helper(); must(t, p.rollback()) },
			"read": func(t *testing.T, p *patientMount, id string) {
				t.Helper()
				resp, err := p.request(t.Context(), id)
				must(t, err)
				if resp.Secret != nil || resp.Data["state"] != "released" {
					t.Errorf("the request is %v", resp.Data["state"])
				}
			},
			"read where it cannot be forgotten, and swept": func(t *testing.T, p *patientMount, id string) {
				t.Helper()
				p.store.hook(func(s *storage) { s.delete = on(errFault) })
				_, err := p.request(t.Context(), id)
				answered(t, err, http.StatusBadGateway, "ended within two minutes")
				p.heal()
				must(t, p.rollback())
			},
		} {
			t.Run(what+", in "+in, func(t *testing.T) {
				t.Parallel()
				p := newPatientMount(t, inTask)
				line := newWire(t, p.Addr())
				_, err := p.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"address": line.Addr().String()})
				must(t, err)
				id := p.approved(t)
				freeze := func(frozen bool) error {
					_, err := p.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: aliceID, Frozen: frozen, KeepLive: true, Cause: "test"})
					return err
				}
				refused := make(chan struct{})
				p.Minter.Set(func(mi *brokertest.Minter) {
					mi.BeforeMint = func(mint.Order) error {
						err := freeze(true)
						line.cut()
						<-refused
						return err
					}
				})
				_, err = p.request(t.Context(), id)
				answered(t, err, http.StatusForbidden, "FROZEN")
				must(t, freeze(false))
				close(refused)
				brokertest.Eventually(t, "the first comes to its end", func() bool {
					return p.State(id) == valetkeyv1.GrantState_GRANT_STATE_ACTIVE
				})
				p.heal()
				end(t, p, id)
				p.empty(t)
			})
		}
	}
}
