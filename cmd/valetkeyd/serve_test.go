package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// running is the daemon as serve runs it, in dev mode's clothes.
type running struct {
	t    *testing.T
	dev  devCmd
	auth *devauthority.Authority
	at   addresses
	quit context.CancelFunc
	done chan error
}

// run serves what is in dir until the test ends, or returns why it does not.
func run(t *testing.T, dir string, edit func(*Config)) (*running, error) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	r := &running{t: t, dev: devCmd{Dir: dir, Listen: "127.0.0.1:0", Ledger: "127.0.0.1:0", S3: "http://127.0.0.1:1", Vault: "http://127.0.0.1:1"}, done: make(chan error, 1)}
	if _, err := r.dev.prepare(); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.auth, err = devauthority.New(devauthority.Config{TrustDomain: devDomain}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.auth.Close(); err != nil {
			t.Error(err)
		}
	})
	c := r.dev.config("spiffe://" + devDomain + "/operator")
	c.Metrics.Listen = "127.0.0.1:0"
	if edit != nil {
		edit(&c)
	}
	self := spiffeid.RequireFromString("spiffe://" + devDomain + "/valetkeyd")
	ctx, cancel := context.WithCancel(t.Context())
	r.quit = cancel
	ready := make(chan struct{})
	go func() {
		r.done <- serve(ctx, c, r.auth.Source(self), slog.New(slog.DiscardHandler), func(at addresses, _ *ledger.Key) {
			r.at = at
			close(ready)
		})
	}()
	select {
	case <-ready:
		t.Cleanup(func() { cancel() })
		return r, nil
	case err := <-r.done:
		cancel()
		return nil, err
	}
}

// stop ends it, and returns what serve returned.
func (r *running) stop() error {
	r.quit()
	return <-r.done
}

func (r *running) dial() *grpc.ClientConn {
	r.t.Helper()
	src := r.auth.Source(spiffeid.RequireFromString("spiffe://" + devDomain + "/agent/alice/s1"))
	conf := tlsconfig.MTLSClientConfig(src, r.auth.X509Bundle(), tlsconfig.AuthorizeAny())
	conf.MinVersion = tls.VersionTLS13
	conn, err := grpc.NewClient(r.at.grpc, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *running) get(path string) int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.at.metrics+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		r.t.Error(err)
	}
	return resp.StatusCode
}

// eventually polls until ok, and fails the test after two minutes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-every.C:
		case <-limit:
			t.Fatalf("not within 2 min: %s", what)
		}
	}
}

// A broker that is told to stop says so while it still takes calls.
func TestDrainingIsTold(t *testing.T) {
	grace := 2 * time.Second
	r, err := run(t, filepath.Join(t.TempDir(), "dev"), func(c *Config) { c.Drain = &grace })
	if err != nil {
		t.Fatal(err)
	}
	conn := r.dial()
	check := func(service string) healthpb.HealthCheckResponse_ServingStatus {
		t.Helper()
		resp, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetStatus()
	}
	const yes, no = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING
	for _, service := range []string{"", "valetkey.v1.AgentService", "valetkey.v1.OperatorService", "liveness"} {
		if got := check(service); got != yes {
			t.Errorf("%q is %v before", service, got)
		}
	}
	if a, b := r.get("/readyz"), r.get("/healthz"); a != http.StatusOK || b != http.StatusOK {
		t.Errorf("readyz %d, healthz %d before", a, b)
	}
	began := time.Now()
	r.quit()
	eventually(t, "it says that it drains", func() bool { return check("") == no })
	if a, b := check("valetkey.v1.AgentService"), check("liveness"); a != no || b != yes {
		t.Errorf("draining: AgentService %v, liveness %v", a, b)
	}
	if a, b := r.get("/readyz"), r.get("/healthz"); a != http.StatusServiceUnavailable || b != http.StatusOK {
		t.Errorf("draining: readyz %d, healthz %d", a, b)
	}
	// A caller who has not heard yet is served.
	if _, err := valetkeyv1.NewAgentServiceClient(r.dial()).ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{}); err != nil {
		t.Errorf("a call in the grace: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < grace {
		t.Errorf("it stopped after %v of %v", took, grace)
	}
}

// One who watches the broker's health, as load balancers do, does not hold its stop.
func TestHealthWatchHoldsNoStop(t *testing.T) {
	grace := time.Duration(0)
	r, err := run(t, filepath.Join(t.TempDir(), "dev"), func(c *Config) { c.Drain = &grace })
	if err != nil {
		t.Fatal(err)
	}
	watch, err := healthpb.NewHealthClient(r.dial()).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: livenessService})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := watch.Recv(); err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", resp, err)
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > drainTimeout/3 {
		t.Errorf("it stopped after %v", took)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestReadinessFollowsTheBroker(t *testing.T) {
	errDown := errors.New("down")
	var state, writes error
	r := newReadiness(func() error { return state }, func() error { return writes })
	check := func(service string) string {
		t.Helper()
		resp, err := r.grpc.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetStatus().String()
	}
	mux := http.NewServeMux()
	r.handle(mux)
	readyz := func() string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		return w.Body.String()
	}
	const agents, operators = "valetkey.v1.AgentService", "valetkey.v1.OperatorService"
	for _, tc := range []struct {
		state, writes     error
		mint, operate, to string
	}{
		{nil, nil, "SERVING", "SERVING", "ok"},
		{errDown, errDown, "NOT_SERVING", "NOT_SERVING", "refuses writes"},
		{store.ErrDamaged, nil, "NOT_SERVING", "SERVING", "damaged"}, // what was minted is ended all the same
		{nil, nil, "SERVING", "SERVING", "ok"},
	} {
		state, writes = tc.state, tc.writes
		r.update()
		if got := check(""); got != tc.mint || check(agents) != tc.mint || check(operators) != tc.operate || check(livenessService) != "SERVING" {
			t.Errorf("store %v: ready %s, operable %s", tc.state, got, check(operators))
		}
		if got := readyz(); !strings.Contains(got, tc.to) {
			t.Errorf("store %v: /readyz says %q", tc.state, got)
		}
	}
	r.drain()
	r.update()
	if got := check(""); got != "NOT_SERVING" || check(operators) != "NOT_SERVING" {
		t.Errorf("draining: %s", got)
	}
}
