package vaultplugin_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// sealable is a world whose Vault is not in dev mode: the plugin is registered by its
// checksum, and Vault can be sealed. unseal waits until it is active.
func sealable(t *testing.T, via func(minio string) string, people ...brokertest.Person) (w *world, unseal func()) {
	t.Helper()
	w = newWorld(t, via, people...)
	w.vault = servers.VaultFile(t, w.plugins)
	sys := w.client(t, "").Sys()
	keys, err := sys.InitWithContext(t.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	must(t, err)
	unseal = func() {
		t.Helper()
		_, err := sys.UnsealWithContext(t.Context(), keys.Keys[0])
		must(t, err)
		eventually(t, 2*time.Minute, "Vault is active", func() bool {
			h, err := sys.HealthWithContext(t.Context())
			return err == nil && h.Initialized && !h.Sealed && !h.Standby
		})
	}
	unseal()
	w.root = w.client(t, keys.RootToken)
	w.register(t, "v0.1.0", pluginName)
	w.users(t)
	w.enable(t, "valetkey", nil)
	return w, unseal
}

// TestSealed seals a Vault: what the plugin gave is still there, and can be ended,
// after it.
func TestSealed(t *testing.T) {
	t.Parallel()
	w, unseal := sealable(t, nil)
	alice := w.login(t, "alice")
	before := creds(t, alice)
	must(t, w.root.Sys().SealWithContext(t.Context()))
	_, err := read(t, alice, "valetkey/creds/s3-prefix-read", reports...)
	refused(t, err, 503, "sealed")
	must(t, get(t.Context(), session(before), "reports/one"))
	unseal()
	after := creds(t, alice)
	for _, s := range []*api.Secret{before, after} {
		must(t, get(t.Context(), session(s), "reports/one"))
		w.revoke(t, s)
		eventually(t, endLimit, "a lease from before and one from after the seal end", func() bool {
			return forbidden(get(t.Context(), session(s), "reports/one"))
		})
	}
}

// gate stands before an STS, and holds answers back while it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while it is open; locked by mu
	held chan struct{} // told of each answer that is held
}

func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut = shut
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = nil
		close(shut)
	})
}

// serve is a reverse proxy that has MinIO do what it is asked, and holds its answer.
func (g *gate) serve(t *testing.T, minio string) string {
	t.Helper()
	target, err := url.Parse(minio)
	must(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		},
		ModifyResponse: func(*http.Response) error {
			g.mu.Lock()
			shut := g.shut
			g.mu.Unlock()
			if shut != nil {
				g.held <- struct{}{}
				<-shut
			}
			return nil
		},
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return s.URL
}

// TestKilledWhileMinting kills the real plugin under a real Vault when MinIO has made
// the session and nobody has it yet. Vault's own rollback, which comes once a minute
// and survives a seal, ends it.
func TestKilledWhileMinting(t *testing.T) {
	g := &gate{held: make(chan struct{}, 8)}
	w, unseal := sealable(t, func(minio string) string { return g.serve(t, minio) })
	alice := w.login(t, "alice")
	open := g.close()
	defer open()
	answered := make(chan *api.Secret, 1)
	go func() {
		s, _ := read(t, alice, "valetkey/creds/s3-prefix-read", reports...) // there is mostly an error
		answered <- s
	}()
	<-g.held
	pids := w.pids(t)
	if len(pids) != 1 {
		t.Fatalf("%d processes", len(pids))
	}
	kill(t, pids[0])
	open()
	// Where Vault sees the process gone before it sees the call fail, it starts another
	// and sends the request again. What that gives has a lease, and is not the first.
	again := 0
	if s := <-answered; s != nil {
		again = 1
		w.revoke(t, s)
	}
	eventually(t, endLimit, "the broker has issued what nobody has", func() bool { return w.count("issuance.issued") == 1+again })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(w.Records(), "\n"))
		}
	})
	// Vault counts its minute from the unseal. The first rollback would be too early
	// for the entry that the kill has left, and the second is a minute later.
	must(t, w.root.Sys().SealWithContext(t.Context()))
	unseal()
	t.Parallel() // only now, so that the other tests run in this minute and not before it
	eventually(t, 2*time.Minute, "Vault rolls it back, and the broker has ended it upstream", func() bool {
		// The plugin that comes back has a new SVID, which a clock that stands still does not know.
		w.Clock.Add(time.Since(w.Clock.Now()))
		return w.count("task.closed") == 1+again && w.count("revocation.concluded") == 1+again
	})
	must(t, get(t.Context(), session(creds(t, alice)), "reports/one"))
}

func (w *world) count(kind string) int { return count(w.Records(), kind) }
