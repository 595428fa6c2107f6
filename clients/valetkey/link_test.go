package valetkey_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	experimental "google.golang.org/grpc/experimental/opentelemetry"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats/opentelemetry"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestAnotherIdentity has somebody else answer at the broker's address. It is told
// at once, it is told what it is, and nothing is sent.
func TestAnotherIdentity(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	began := time.Now()
	for name, c := range map[string]*valetkey.Client{
		"another ID":           dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(time.Minute), valetkey.WithBrokerID(spiffeid.RequireFromString(brokertest.Operator))),
		"another trust domain": dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(time.Minute), valetkey.WithBrokerID(spiffeid.RequireFromString("spiffe://other.example/valetkeyd"))),
		"another authority":    dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(time.Minute), valetkey.WithIdentity(identityOf(start(t), brokertest.Agent))),
	} {
		if _, err := c.OpenTask(t.Context(), spec); !errors.Is(err, valetkey.ErrBrokerIdentity) || errors.Is(err, valetkey.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("that took %v", took)
	}
	// It comes in the middle of things, and goes.
	c := dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(300*time.Millisecond))
	task := open(t, c)
	other := start(t)
	f.point(other.Addr())
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrBrokerIdentity) {
		t.Errorf("another broker's authority: %v", err)
	}
	f.point("")
	brokertest.Eventually(t, "nobody is not taken for somebody else", func() bool {
		err := mintOne(t, task)
		return errors.Is(err, valetkey.ErrUnavailable) && !errors.Is(err, valetkey.ErrBrokerIdentity)
	})
	f.point(h.Addr())
	brokertest.Eventually(t, "the broker is found again", func() bool { return mintOne(t, task) == nil })
	if got := len(other.Records()); got != 1 { // its start
		t.Errorf("the other has %d records", got)
	}
}

// TestRotation lets the SVID of the connection die. The broker refuses it on the
// next call, so that the program must come with its new one.
func TestRotation(t *testing.T) {
	h := start(t)
	id := identityOf(h, brokertest.Agent)
	give := func(life time.Duration) {
		t.Helper()
		svid, err := h.Authority.X509SVID(spiffeid.RequireFromString(brokertest.Agent), time.Now().Add(-time.Minute), time.Now().Add(life))
		must(t, err)
		id.Fix(svid)
	}
	give(time.Minute)
	c := dial(t, h, valetkey.WithIdentity(id))
	task := open(t, c)
	must(t, mintOne(t, task))
	g, err := task.Request(t.Context(), "s3-prefix-read", params)
	must(t, err)
	watched, stop := context.WithCancel(t.Context())
	defer stop()
	states := make(chan valetkeyv1.GrantState, 8)
	ended := make(chan error, 1)
	go func() {
		var last error
		for info, err := range g.Watch(watched) {
			if last = err; err == nil {
				states <- info.GetState()
			}
		}
		ended <- last
	}()
	if s := <-states; s != valetkeyv1.GrantState_GRANT_STATE_CLEARED {
		t.Errorf("it is %s", s)
	}
	h.Clock.Add(2 * time.Minute)
	if err := mintOne(t, task); !errors.Is(err, valetkey.ErrSVIDExpired) {
		t.Errorf("with a dead SVID: %v", err)
	}
	give(30 * time.Minute)
	must(t, mintOne(t, task))
	_, err = g.Mint(t.Context())
	must(t, err)
	if s := <-states; s != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("after the rotation it is %s", s)
	}
	must(t, g.Release(t.Context()))
	if s := <-states; s != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("at the end it is %s", s)
	}
	must(t, <-ended)
}

// TestSlow gives a broker that hangs no longer than the caller wants.
func TestSlow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	h := start(t)
	c := dial(t, h, valetkey.WithAddr(l.Addr().String()), valetkey.WithRetryFor(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.OpenTask(ctx, spec); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a broker that hangs: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
}

// TestStalledConnection has the connection swallow what is sent on it: the call is sent
// again over another.
func TestStalledConnection(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	task := open(t, dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithTryFor(2*time.Second), valetkey.WithRetryFor(20*time.Second)))
	must(t, mintOne(t, task))
	f.stall()
	began := time.Now()
	must(t, mintOne(t, task))
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("that took %v", took)
	}
}

// stub is an edge with mTLS that keeps what a call brings.
type stub struct {
	valetkeyv1.UnimplementedAgentServiceServer
	mu   sync.Mutex
	came metadata.MD
	// watch answers WatchGrant.
	watch func(grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error
}

func (s *stub) OpenTask(ctx context.Context, _ *valetkeyv1.OpenTaskRequest) (*valetkeyv1.OpenTaskResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came, _ = metadata.FromIncomingContext(ctx)
	return &valetkeyv1.OpenTaskResponse{Task: &valetkeyv1.Task{Id: "task_" + strings.Repeat("a", 26)}}, nil
}

func (s *stub) CloseTask(context.Context, *valetkeyv1.CloseTaskRequest) (*valetkeyv1.CloseTaskResponse, error) {
	return &valetkeyv1.CloseTaskResponse{}, nil
}

// GetGrant shows one that waits, which people are watched for.
func (s *stub) GetGrant(_ context.Context, r *valetkeyv1.GetGrantRequest) (*valetkeyv1.GetGrantResponse, error) {
	return &valetkeyv1.GetGrantResponse{Grant: &valetkeyv1.Grant{Id: r.GetGrantId(), State: valetkeyv1.GrantState_GRANT_STATE_PENDING}}, nil
}

func (s *stub) WatchGrant(_ *valetkeyv1.WatchGrantRequest, stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	return s.watch(stream)
}

func (s *stub) serve(t *testing.T, a *devauthority.Authority) string {
	t.Helper()
	return serveAgents(t, a, s)
}

func serveAgents(t *testing.T, a *devauthority.Authority, s valetkeyv1.AgentServiceServer) string {
	t.Helper()
	source := a.Source(spiffeid.RequireFromString("spiffe://example.org/valetkeyd"))
	conf := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny())
	conf.MinVersion = tls.VersionTLS13
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	valetkeyv1.RegisterAgentServiceServer(srv, s)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		must(t, <-done)
	})
	return l.Addr().String()
}

// TestEnvironment goes the way of a program that says nothing, with a real Workload
// API, and sends its trace along.
func TestEnvironment(t *testing.T) {
	a, err := devauthority.New(devauthority.Config{TrustDomain: "example.org", SocketDir: filepath.Join(t.TempDir(), "s")})
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	must(t, a.Serve(t.Context(), "agent.sock", spiffeid.RequireFromString(brokertest.Agent)))
	socket, err := a.SocketPath("agent.sock")
	must(t, err)
	s := &stub{}
	env := map[string]string{
		valetkey.EnvAddr: s.serve(t, a), valetkey.EnvBrokerID: brokerID.String(), valetkey.EnvWorkloadAPI: "unix://" + socket,
		valetkey.EnvLedgerKey: start(t).Key.VerifierKey(),
	}
	for missing := range env {
		for name, value := range env {
			if name == missing {
				value = ""
			}
			t.Setenv(name, value)
		}
		c, err := valetkey.New(t.Context())
		if missing == valetkey.EnvBrokerID { // any member of the trust domain, then
			must(t, err)
			must(t, c.Close())
		} else if err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
		t.Setenv(missing, env[missing])
	}
	t.Setenv(valetkey.EnvBrokerID, "no id")
	if _, err := valetkey.New(t.Context()); err == nil {
		t.Error("any broker's ID goes")
	}
	t.Setenv(valetkey.EnvBrokerID, brokerID.String())
	if _, err := valetkey.New(t.Context(), valetkey.WithLedgerKey("no key")); err == nil {
		t.Error("any ledger key goes")
	}

	tp := sdktrace.NewTracerProvider()
	c, err := valetkey.New(t.Context(), valetkey.WithDialOptions(opentelemetry.DialOption(opentelemetry.Options{
		TraceOptions: experimental.TraceOptions{TracerProvider: tp, TextMapPropagator: propagation.TraceContext{}},
	})))
	must(t, err)
	if c.ID().String() != brokertest.Agent {
		t.Errorf("it is %s", c.ID())
	}
	ctx, span := tp.Tracer("test").Start(t.Context(), "work")
	_, err = c.OpenTask(ctx, spec)
	must(t, err)
	span.End()
	if parent := s.came.Get("traceparent"); len(parent) != 1 || !strings.Contains(parent[0], span.SpanContext().TraceID().String()) {
		t.Errorf("traceparent is %v", parent)
	}
	must(t, c.Close())
	must(t, c.Close())
}
