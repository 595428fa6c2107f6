package identity_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

func TestOpenRefused(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, cfg := range map[string]identity.SourceConfig{
		"nothing":       {},
		"both":          {WorkloadAPI: "unix:///run/agent.sock", CertFile: "cert.pem"},
		"no key":        {CertFile: missing, BundleFile: missing},
		"missing files": {CertFile: missing, KeyFile: missing, BundleFile: missing},
		"bad address":   {WorkloadAPI: "agent.sock"},
		"bad ID":        {WorkloadAPI: "unix://" + missing, ID: "ann"},
	} {
		if src, err := identity.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s was opened", name)
			closeSource(t, src)
		}
	}
}

func closeSource(t *testing.T, src io.Closer) {
	t.Helper()
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenSaysWhy waits in vain, and wants to be told for what.
func TestOpenSaysWhy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := identity.Open(ctx, identity.SourceConfig{WorkloadAPI: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want the deadline and the missing socket", err)
	}
}

func serve(t *testing.T, a *devauthority.Authority, id spiffeid.ID) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	if err := a.Serve(t.Context(), path, id); err != nil {
		t.Fatal(err)
	}
	return "unix://" + path
}

func open(t *testing.T, cfg identity.SourceConfig) identity.Source {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	src, err := identity.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSource(t, src) })
	return src
}

// eventually polls for what another process or goroutine will bring about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waiting in vain for %s", what)
		}
	}
}

func TestWorkloadSource(t *testing.T) {
	ours, partner := newAuthority(t, ourDomain), newAuthority(t, "partner.test")
	id := mustID(t, "spiffe://example.org/valetkeyd")
	src := open(t, identity.SourceConfig{WorkloadAPI: serve(t, ours, id), ID: id.String()})
	first, err := src.GetX509SVID()
	if err != nil || first.ID != id {
		t.Fatalf("got %v, %v", first, err)
	}
	if _, err := src.GetJWTBundleForTrustDomain(ours.TrustDomain()); err != nil {
		t.Error(err)
	}
	token, err := src.FetchJWTSVID(t.Context(), "https://sts.example.org")
	if err != nil || token.ID != id {
		t.Errorf("got %v, %v", token, err)
	}

	ours.Rotate()
	eventually(t, "the rotated SVID", func() bool {
		svid, err := src.GetX509SVID()
		return err == nil && svid.Certificates[0].SerialNumber.Cmp(first.Certificates[0].SerialNumber) != 0
	})
	if _, err := src.GetX509BundleForTrustDomain(partner.TrustDomain()); err == nil {
		t.Error("a bundle of a domain that is not federated yet")
	}
	if err := ours.Federate(partner.Bundle()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the federated bundles", func() bool {
		_, x509 := src.GetX509BundleForTrustDomain(partner.TrustDomain())
		_, jwt := src.GetJWTBundleForTrustDomain(partner.TrustDomain())
		return x509 == nil && jwt == nil
	})
}

func TestWorkloadSourceClosed(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	src := open(t, identity.SourceConfig{WorkloadAPI: serve(t, ours, mustID(t, "spiffe://example.org/valetkeyd"))})
	closeSource(t, src)
	if _, err := src.GetX509SVID(); err == nil {
		t.Error("a closed source gives an SVID")
	}
	if _, err := src.FetchJWTSVID(t.Context(), audience); err == nil {
		t.Error("a closed source gives a JWT-SVID")
	}
}

// TestOpenWaitsForItsID asks for an ID that the Workload API does not have.
func TestOpenWaitsForItsID(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := identity.Open(ctx, identity.SourceConfig{
		WorkloadAPI: serve(t, ours, mustID(t, "spiffe://example.org/valetkeyd")),
		ID:          "spiffe://example.org/other",
	})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "spiffe://example.org/other") {
		t.Errorf("got %v, want the deadline and the ID", err)
	}
}

// syncBuffer is a log to read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestWorkloadAPIGone keeps the SVID and says so when the authority goes.
func TestWorkloadAPIGone(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	var log syncBuffer
	src := open(t, identity.SourceConfig{
		WorkloadAPI: serve(t, ours, mustID(t, "spiffe://example.org/valetkeyd")),
		Log:         slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the complaint", func() bool { return strings.Contains(log.String(), "Workload API complains") })
	if _, err := src.GetX509SVID(); err != nil {
		t.Error(err)
	}
}

// files is an SVID on disk.
type files struct{ dir string }

func (f files) config() identity.SourceConfig {
	return identity.SourceConfig{
		CertFile:   filepath.Join(f.dir, "svid.pem"),
		KeyFile:    filepath.Join(f.dir, "key.pem"),
		BundleFile: filepath.Join(f.dir, "bundle"),
	}
}

func (f files) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f files) writeSVID(t *testing.T, a *devauthority.Authority, id string) *x509svid.SVID {
	t.Helper()
	begin, end := hour()
	svid, err := a.X509SVID(mustID(t, id), begin, end)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := svid.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "svid.pem", cert)
	f.write(t, "key.pem", key)
	return svid
}

func marshal(t *testing.T, b interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFileSource(t *testing.T) {
	ours, partner := newAuthority(t, ourDomain), newAuthority(t, "partner.test")
	f := files{t.TempDir()}
	f.writeSVID(t, ours, "spiffe://example.org/valetkeyd")
	f.write(t, "bundle", marshal(t, ours.X509Bundle())) // PEM
	f.write(t, "partner", marshal(t, partner.Bundle())) // SPIFFE bundle document
	cfg := f.config()
	cfg.FederatedBundleFiles = map[string]string{"partner.test": filepath.Join(f.dir, "partner")}
	var log syncBuffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	src := open(t, cfg)

	if _, err := src.GetX509BundleForTrustDomain(ours.TrustDomain()); err != nil {
		t.Error(err)
	}
	if _, err := src.GetX509BundleForTrustDomain(partner.TrustDomain()); err != nil {
		t.Error(err)
	}
	if bundle, err := src.GetJWTBundleForTrustDomain(partner.TrustDomain()); err != nil || len(bundle.JWTAuthorities()) != 1 {
		t.Errorf("got %v, %v", bundle, err)
	}
	if _, err := src.FetchJWTSVID(t.Context(), audience); !errors.Is(err, identity.ErrNoJWT) {
		t.Errorf("got %v, want ErrNoJWT", err)
	}

	// A key that does not fit its certificate leaves the old pair in force.
	f.writeSVID(t, ours, "spiffe://example.org/half")
	f.write(t, "key.pem", []byte("half written"))
	eventually(t, "a word on the faulty files", func() bool {
		svid, err := src.GetX509SVID()
		if err != nil || svid.ID.Path() != "/valetkeyd" {
			t.Fatalf("got %v, %v", svid, err)
		}
		return strings.Contains(log.String(), "left aside")
	})
	if strings.Contains(log.String(), "half written") {
		t.Errorf("the log holds the key file: %s", log.String())
	}
	f.writeSVID(t, ours, "spiffe://example.org/second")
	eventually(t, "the second SVID", func() bool {
		svid, err := src.GetX509SVID()
		if err != nil || svid.ID.Path() == "/half" {
			t.Fatalf("got %v, %v", svid, err)
		}
		return svid.ID.Path() == "/second"
	})
	closeSource(t, src)
	if _, err := src.GetX509SVID(); err == nil {
		t.Error("a closed source gives an SVID")
	}
}

func TestFileSourceRefused(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	for name, spoil := range map[string]func(files, *identity.SourceConfig){
		"empty bundle":   func(f files, _ *identity.SourceConfig) { f.write(t, "bundle", nil) },
		"empty document": func(f files, _ *identity.SourceConfig) { f.write(t, "bundle", []byte(`{"keys":[]}`)) },
		"garbage bundle": func(f files, _ *identity.SourceConfig) { f.write(t, "bundle", []byte("{")) },
		"other key": func(f files, _ *identity.SourceConfig) {
			f.writeSVID(t, ours, "spiffe://example.org/b")
			f.write(t, "svid.pem", certOf(t, ours))
		},
		"own as federated": func(f files, c *identity.SourceConfig) {
			c.FederatedBundleFiles = map[string]string{ourDomain: c.BundleFile}
		},
		"bad domain": func(_ files, c *identity.SourceConfig) {
			c.FederatedBundleFiles = map[string]string{"A B": c.BundleFile}
		},
		"missing file": func(f files, c *identity.SourceConfig) {
			c.FederatedBundleFiles = map[string]string{"partner.test": filepath.Join(f.dir, "none")}
		},
	} {
		f := files{t.TempDir()}
		f.writeSVID(t, ours, "spiffe://example.org/valetkeyd")
		f.write(t, "bundle", marshal(t, ours.X509Bundle()))
		cfg := f.config()
		spoil(f, &cfg)
		if _, err := identity.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

func certOf(t *testing.T, a *devauthority.Authority) []byte {
	t.Helper()
	begin, end := hour()
	svid, err := a.X509SVID(mustID(t, "spiffe://example.org/c"), begin, end)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := svid.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
