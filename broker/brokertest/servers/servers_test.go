package servers_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

func TestMinIO(t *testing.T) {
	s := servers.MinIO(t)
	resp, err := http.Get(s.Endpoint + "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("anonymous listing of buckets: %s, want 403", resp.Status)
	}
}

func TestVault(t *testing.T) {
	s := servers.Vault(t)
	for token, want := range map[string]int{s.RootToken: http.StatusOK, "other": http.StatusForbidden} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Addr+"/v1/auth/token/lookup-self", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("looking up the token: %s, want %d", resp.Status, want)
		}
	}
}

// TestSPIRE fetches two identities that one process has.
func TestSPIRE(t *testing.T) {
	s := servers.SPIRE(t, "example.org")
	want := map[string]bool{"spiffe://example.org/a": true, "spiffe://example.org/b": true}
	for id := range want {
		s.Entry(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	src, err := workloadapi.NewX509Source(ctx,
		workloadapi.WithClientOptions(workloadapi.WithAddr(s.WorkloadAPI())),
		workloadapi.WithDefaultX509SVIDPicker(func(svids []*x509svid.SVID) *x509svid.SVID {
			if len(svids) != len(want) {
				return nil
			}
			for _, svid := range svids {
				if !want[svid.ID.String()] {
					t.Errorf("unexpected identity %q", svid.ID)
				}
			}
			return svids[0]
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := src.GetX509SVID(); err == nil {
			return
		}
		if err := src.WaitUntilUpdated(ctx); err != nil {
			t.Fatalf("waiting for both identities: %v", err)
		}
	}
}

// TestStopped ends a server in a subtest and finds its port closed.
func TestStopped(t *testing.T) {
	var endpoint string
	t.Run("server", func(t *testing.T) { endpoint = servers.MinIO(t).Endpoint })
	if resp, err := http.Get(endpoint); err == nil {
		_ = resp.Body.Close()
		t.Errorf("%s answers after the clean-up", endpoint)
	}
}

// recorder is a TB that keeps what Fatalf said.
type recorder struct {
	*testing.T
	fatal string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatalOf runs f and gives what it was fatal about.
func fatalOf(t *testing.T, f func(servers.TB)) string {
	t.Helper()
	r := &recorder{T: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(r) })
	wg.Wait()
	return r.fatal
}

func TestMissingBinaryIsFatal(t *testing.T) {
	t.Setenv("VALETKEY_SERVERS", filepath.Join(t.TempDir(), "none"))
	for name, f := range map[string]func(servers.TB){
		"minio":        func(tb servers.TB) { servers.MinIO(tb) },
		"monmaptool":   func(tb servers.TB) { servers.RadosGW(tb) },
		"vault":        func(tb servers.TB) { servers.Vault(tb) },
		"spire-server": func(tb servers.TB) { servers.SPIRE(tb, "example.org") },
	} {
		if said := fatalOf(t, f); !strings.Contains(said, name) || !strings.Contains(said, "make servers") {
			t.Errorf("without %s: %q, want it to name the binary and the way to build it", name, said)
		}
	}
}

func TestServerThatEndsIsFatal(t *testing.T) {
	said := fatalOf(t, func(tb servers.TB) { servers.Vault(tb, "-no-such-flag") })
	if !strings.Contains(said, "ended before it was ready") || !strings.Contains(said, "no-such-flag") {
		t.Errorf("a server that ends: %q, want its own words", said)
	}
}

func TestPostgresAsksForThePassword(t *testing.T) {
	s := servers.Postgres(t)
	if out, err := s.Query(t.Context(), s.User, s.Password, "select 6*7"); err != nil || strings.TrimSpace(out) != "42" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := s.Query(t.Context(), s.User, "another", "select 1"); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("with another password: %v", err)
	}
}
