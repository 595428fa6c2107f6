package vaultplugin_test

import (
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/x509"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
)

// answered is the code that Vault gives a caller for err.
func answered(t *testing.T, err error, code int, says string) {
	t.Helper()
	coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // as Vault's own plugin protocol looks at it
	if !ok || coded.Code() != code || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %d with %q", err, code, says)
	}
}

// TestForgedReceipt has a broker whose ledger is not the one that was pinned.
func TestForgedReceipt(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "other.key")
	must(t, ledger.GenerateKey(name, "valetkey.test/log"))
	other, err := ledger.LoadKey(name)
	must(t, err)
	m := newMount(t, map[string]any{"ledger_key": other.VerifierKey()})
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusBadGateway, "was not handed out")
	m.clean(t)
}

func TestOtherBroker(t *testing.T) {
	t.Parallel()
	m := newMount(t, map[string]any{"broker_id": "spiffe://example.org/somebody"})
	_, err := m.creds(t.Context(), nil)
	answered(t, err, http.StatusBadGateway, "another identity")
	_, err = m.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"broker_id": brokerID})
	must(t, err)
	must(t, m.rollback())
	m.clean(t)
}

// TestBrokersClock has the broker take the plugin's SVID for one that is over.
func TestBrokersClock(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	m.Clock.Add(48 * time.Hour)
	_, err := m.creds(t.Context(), nil)
	answered(t, err, http.StatusBadGateway, "the broker refuses the plugin's own SVID; tell Vault's operator: ")
	answered(t, err, http.StatusBadGateway, "SVID_EXPIRED")
	m.clean(t)
}

func TestRateLimited(t *testing.T) {
	t.Parallel()
	m := newLimited(t, guard.Config{RatePerMinute: 1, Burst: 2}, nil)
	resp, err := m.creds(t.Context(), nil)
	must(t, err)
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusTooManyRequests, "RATE_LIMITED")
	// Ending something is never held up by a limit.
	_, err = m.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: m.store, Secret: resp.Secret})
	must(t, err)
	m.Clock.Add(10 * time.Minute)
	must(t, m.rollback())
	m.clean(t)
}

// TestMany asks for much at once, with somebody reconfiguring in between.
func TestMany(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	var all sync.WaitGroup
	got := make(chan *logical.Response, 64)
	for range cap(got) {
		all.Go(func() {
			resp, err := m.creds(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			got <- resp
		})
	}
	all.Go(func() {
		_, err := m.call(t.Context(), logical.UpdateOperation, "config", map[string]any{"environment": "staging"})
		if err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	close(got)
	for resp := range got {
		_, err := m.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: m.store, Secret: resp.Secret})
		must(t, err)
	}
	must(t, m.rollback())
	m.clean(t)
}

// TestSVIDInFiles rotates the plugin's own SVID under it.
func TestSVIDInFiles(t *testing.T) {
	t.Parallel()
	m := newMount(t, nil)
	dir := t.TempDir()
	write := func(name, kind string, raw ...[]byte) string {
		t.Helper()
		var text []byte
		for _, r := range raw {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: r})...)
		}
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path+".new", text, 0o600))
		must(t, os.Rename(path+".new", path))
		return path
	}
	svid := func(id string, life time.Duration) (cert, key string) {
		t.Helper()
		s, err := m.Authority.X509SVID(spiffeid.RequireFromString(id), time.Now().Add(-time.Minute), time.Now().Add(life))
		must(t, err)
		var chain [][]byte
		for _, c := range s.Certificates {
			chain = append(chain, c.Raw)
		}
		raw, err := x509.MarshalPKCS8PrivateKey(s.PrivateKey)
		must(t, err)
		return write("cert.pem", "CERTIFICATE", chain...), write("key.pem", "PRIVATE KEY", raw)
	}
	var cas [][]byte
	for _, ca := range m.Authority.X509Bundle().X509Authorities() {
		cas = append(cas, ca.Raw)
	}
	bundle := write("bundle.pem", "CERTIFICATE", cas...)
	cert, key := svid("spiffe://example.org/agent/alice/vault", time.Hour)
	_, err := m.call(t.Context(), logical.UpdateOperation, "config", map[string]any{
		"workload_api": "", "cert_file": cert, "key_file": key, "bundle_file": bundle,
	})
	must(t, err)
	// An agent's SVID is no delegate's.
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusForbidden, "CALLER_NOT_ALLOWED")
	// In the middle of a rotation the last good set stays.
	must(t, os.WriteFile(key, []byte("half"), 0o600))
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusForbidden, "CALLER_NOT_ALLOWED")
	svid(delegateID, time.Hour)
	resp, err := m.creds(t.Context(), nil)
	must(t, err)
	_, err = m.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Storage: m.store, Secret: resp.Secret})
	must(t, err)
	must(t, m.rollback())
	m.clean(t)
	// Of an SVID that is over the broker is not told.
	refusals := m.count("refusal.recorded")
	svid(delegateID, -time.Second)
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusBadGateway, "that of "+delegateID+" ended at ")
	answered(t, err, http.StatusBadGateway, "and "+cert+" gives no newer one")
	if n := m.count("refusal.recorded"); n != refusals {
		t.Errorf("the broker was asked: it has refused %d times more", n-refusals)
	}
	// A restart has nothing to go on with.
	must(t, os.Remove(cert))
	m.crash(t)
	_, err = m.creds(t.Context(), nil)
	answered(t, err, http.StatusBadGateway, "cert.pem")
}
