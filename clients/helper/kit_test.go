package helper

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	limits "github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// identity is an SVID source of the harness's authority, with its bundle.
type identity struct {
	*devauthority.Source
	bundle *x509bundle.Bundle
}

func (i identity) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return i.bundle.GetX509BundleForTrustDomain(td)
}

// kit is a whole broker, a client of it, and how often it has minted.
type kit struct {
	h      *brokertest.Harness
	client *valetkey.Client
	minted atomic.Int64
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{h: brokertest.New(t, brokertest.Config{Guard: limits.Config{RatePerMinute: 1e6, Burst: 1e5}})}
	k.h.Minter.AfterMint = func(mint.Order) error {
		k.minted.Add(1)
		return nil
	}
	k.client = k.dial(t)
	return k
}

// dial makes a client of the kit's broker. opts come after.
func (k *kit) dial(t *testing.T, opts ...valetkey.Option) *valetkey.Client {
	t.Helper()
	c, err := valetkey.New(t.Context(), append([]valetkey.Option{
		valetkey.WithAddr(k.h.Addr()), valetkey.WithLedgerKey(k.h.Key.VerifierKey()), valetkey.WithRetryFor(2 * time.Second),
		valetkey.WithIdentity(identity{k.h.Authority.Source(spiffeid.RequireFromString(brokertest.Agent)), k.h.Authority.X509Bundle()}),
		valetkey.WithBrokerID(spiffeid.RequireFromString("spiffe://example.org/valetkeyd")), valetkey.WithLogger(slog.New(slog.DiscardHandler)),
	}, opts...)...)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() }) // some tests end the broker first
	return c
}

// session opens one that reads a prefix.
func (k *kit) session(t *testing.T) *Session {
	t.Helper()
	s, err := Open(t.Context(), SessionConfig{
		Client: k.client, Task: valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}, Scopes: []ScopeSpec{reads("reports/")},
		Dir: t.TempDir(), Program: "/usr/bin/valetkey", Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	return s
}

func reads(prefix string) ScopeSpec {
	return ScopeSpec{Scope: "s3-prefix-read", Params: valetkey.Params{"bucket": {"prod"}, "prefix": {prefix}}}
}

// ask asks an address, and wants the answer not to be kept.
func ask(t testing.TB, method, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	must(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { must(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if strings.Contains(string(body), "SecretAccessKey") && resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: the answer may be kept", url)
	}
	return resp.StatusCode, string(body)
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
