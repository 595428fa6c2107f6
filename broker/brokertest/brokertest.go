// Package brokertest runs a whole broker for tests: the real gRPC server with
// its interceptors, mTLS with real SVIDs, SQLite on disk, the example catalog,
// and an upstream that fails on demand.
package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/valetkey/valetkey/broker"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/server"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// TrustDomain is the harness's; the example policies are written for it.
const TrustDomain = "example.org"

// Audience is what JWT-SVIDs for the harness's broker name.
const Audience = "valetkey"

// Agent and Operator are the IDs that the harness's broker knows.
const (
	Agent    = "spiffe://" + TrustDomain + "/agent/alice/s1"
	Operator = "spiffe://" + TrustDomain + "/operator"
)

// pathTemplates are those of the harness's agents.
var pathTemplates = []string{"/agent/{user}/{session}"}

// Config changes what New runs. The zero value is fine.
type Config struct {
	Guard guard.Config
	// Minter replaces Harness.Minter as the broker's upstream.
	Minter func(*mint.Verifier, *Clock) mint.Minter
	// Dialect is of the role "s3"; empty for AWS's.
	Dialect iam.Dialect
	// Delegates are the broker's.
	Delegates []identity.Delegate
	// People are those who may approve; Directory is under which rules.
	People    []Person
	Directory quorum.Config
	// Watches is the broker's.
	Watches int
	// Retention is the broker's.
	Retention time.Duration
	// Wrap puts something between the broker and its store.
	Wrap func(store.Store) store.Store

	running bool
}

// Harness is a running broker.
type Harness struct {
	T         *testing.T
	Dir       string
	Catalog   string
	Key       *ledger.Key
	Clock     *Clock
	Minter    *Minter
	Authority *devauthority.Authority
	Broker    *broker.Broker
	Store     store.Store

	cfg     Config
	logs    Buffer
	proxied *grpc.Server
	server  *grpc.Server
	addr    string
	jwt     string
	stop    func()
}

// Buffer keeps all that is written, by many at once. The zero value is an empty one.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // locked by mu
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String is what was written.
func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Logs is all that the broker has logged.
func (h *Harness) Logs() string { return h.logs.String() }

// NewRunning is New with a clock that runs, for the tests of clients: theirs does, and a broker whose clock falls two
// seconds behind is one whose credentials they let end sooner.
func NewRunning(t *testing.T, cfg Config) *Harness {
	t.Helper()
	cfg.running = true
	return New(t, cfg)
}

// New starts a broker and stops it with the test. Its clock stands until the test moves it.
func New(t *testing.T, cfg Config) *Harness {
	t.Helper()
	h := &Harness{T: t, Dir: t.TempDir(), Clock: &Clock{now: time.Now()}, cfg: cfg}
	if cfg.running {
		h.Clock.started = h.Clock.now
	}
	h.Catalog = filepath.Join(h.Dir, "catalog")
	must(t, os.CopyFS(h.Catalog, example.Files))
	keyFile := filepath.Join(h.Dir, "ledger.key")
	must(t, ledger.GenerateKey(keyFile, "valetkey.test/log"))
	var err error
	h.Key, err = ledger.LoadKey(keyFile)
	must(t, err)
	h.Authority, err = devauthority.New(devauthority.Config{TrustDomain: TrustDomain})
	must(t, err)
	t.Cleanup(func() { must(t, h.Authority.Close()) })
	h.Minter = &Minter{live: map[string]mint.Order{}}
	h.Start()
	t.Cleanup(h.Stop)
	return h
}

// prove holds the catalog against the example roles' ceilings, as the daemon does. A test that adds a scope over them
// has to widen them.
func (h *Harness) prove(cat *scopes.Catalog) error {
	dir := filepath.Join(h.Catalog, "ceilings")
	s3, err := scopes.LoadCeiling(scopes.ProviderAWS, filepath.Join(dir, "s3-role.json"))
	if err != nil {
		return err
	}
	vault, err := scopes.LoadCeiling(scopes.ProviderVault, filepath.Join(dir, "vault-role.hcl"))
	if err != nil {
		return err
	}
	return cat.ProveCeilings(map[string]scopes.RoleCeiling{"s3": s3, "vault": vault})
}

// Start starts the broker on what is on disk, after Stop.
func (h *Harness) Start() {
	t := h.T
	t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(h.Dir, "valetkey.db"), Seal: h.Key.Seal})
	must(t, err)
	must(t, h.Key.Check(ctx, st))
	h.Store = st
	if h.cfg.Wrap != nil {
		h.Store = h.cfg.Wrap(st)
	}
	log := slog.New(slog.NewJSONHandler(&h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	directory, approvers := h.directory()
	h.Broker, err = broker.Open(ctx, broker.Config{
		Store: h.Store, Key: h.Key, Guard: h.cfg.Guard, Now: h.Clock.Now, Log: log, Directory: directory, PathTemplates: pathTemplates,
		Watches: h.cfg.Watches, Retention: h.cfg.Retention,
		Minters: func(permits *mint.Verifier) (mint.Minter, error) {
			if h.cfg.Minter != nil {
				return h.cfg.Minter(permits, h.Clock), nil
			}
			h.Minter.permits = permits
			return h.Minter, nil
		},
		Load: func() (broker.Rules, error) {
			cat, err := scopes.Load(h.Catalog)
			if err != nil {
				return broker.Rules{}, err
			}
			if cat, err = cat.For(cmp.Or(h.cfg.Dialect, iam.DialectAWS)); err != nil {
				return broker.Rules{}, err
			}
			if err := h.prove(cat); err != nil {
				return broker.Rules{}, err
			}
			engine, err := policy.Load(h.Catalog, cat)
			return broker.Rules{Catalog: cat, Policy: engine}, err
		},
	})
	must(t, err)
	self, err := h.Authority.ID("valetkeyd")
	must(t, err)
	src := h.Authority.Source(self)
	callers := identity.Config{
		TrustDomains: []string{TrustDomain}, PathTemplates: pathTemplates,
		Operators: []string{Operator}, Approvers: approvers, Delegates: h.cfg.Delegates, Now: h.Clock.Now,
	}
	h.server, err = h.Broker.Server(callers, src, server.Config{})
	must(t, err)
	callers.AllowJWT, callers.JWTAudience = true, Audience
	h.proxied, err = h.Broker.Server(callers, src, server.Config{})
	must(t, err)
	served := make(chan error, 2)
	listen := func(s *grpc.Server) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		go func() { served <- s.Serve(l) }()
		return l.Addr().String()
	}
	h.addr, h.jwt = listen(h.server), listen(h.proxied)
	h.stop = sync.OnceFunc(func() {
		h.server.Stop()
		h.proxied.Stop()
		for range cap(served) {
			if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				t.Error(err)
			}
		}
		if err := h.Broker.Close(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
}

// directory is who may approve, and their IDs; nil for nobody.
func (h *Harness) directory() (b *quorum.Directory, ids []string) {
	h.T.Helper()
	if len(h.cfg.People) == 0 {
		return nil, nil
	}
	conf := h.cfg.Directory
	conf.Broker = h.Key.Origin()
	for _, p := range h.cfg.People {
		conf.People, ids = append(conf.People, p.Person), append(ids, p.ID)
	}
	b, err := quorum.NewDirectory(conf)
	must(h.T, err)
	return b, ids
}

// SetPeople changes who may approve from the next Start on.
func (h *Harness) SetPeople(people ...Person) { h.cfg.People = people }

// Stop stops the broker. Its state stays on disk.
func (h *Harness) Stop() { h.stop() }

// Addr is where the broker takes calls over mTLS, until it is started again.
func (h *Harness) Addr() string { return h.addr }

// Dial connects as id, with an SVID of the harness's authority.
func (h *Harness) Dial(id string) *grpc.ClientConn {
	h.T.Helper()
	sid, err := spiffeid.FromString(id)
	must(h.T, err)
	return h.DialFrom(h.Authority.Source(sid))
}

// DialFrom connects with any source of SVIDs.
func (h *Harness) DialFrom(src *devauthority.Source) *grpc.ClientConn {
	h.T.Helper()
	conf := tlsconfig.MTLSClientConfig(src, h.Authority.X509Bundle(), tlsconfig.AuthorizeAny())
	conn, err := grpc.NewClient(h.addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	must(h.T, err)
	h.T.Cleanup(func() { must(h.T, conn.Close()) })
	return conn
}

// DialJWT connects to the listener for callers behind a proxy, without an SVID.
func (h *Harness) DialJWT() *grpc.ClientConn {
	h.T.Helper()
	conf := tlsconfig.TLSClientConfig(h.Authority.X509Bundle(), tlsconfig.AuthorizeAny())
	conn, err := grpc.NewClient(h.jwt, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	must(h.T, err)
	h.T.Cleanup(func() { must(h.T, conn.Close()) })
	return conn
}

// AgentClient is a client for agents, as id.
func (h *Harness) AgentClient(id string) valetkeyv1.AgentServiceClient {
	return valetkeyv1.NewAgentServiceClient(h.Dial(id))
}

// OperatorClient is the operator's client.
func (h *Harness) OperatorClient() valetkeyv1.OperatorServiceClient {
	return valetkeyv1.NewOperatorServiceClient(h.Dial(Operator))
}

// LedgerClient is a client for the record, as id.
func (h *Harness) LedgerClient(id string) valetkeyv1.LedgerServiceClient {
	return valetkeyv1.NewLedgerServiceClient(h.Dial(id))
}

// Records returns every leaf.
func (h *Harness) Records() []string {
	h.T.Helper()
	var out []string
	must(h.T, h.Store.View(context.Background(), func(r store.Reader) error {
		leaves, err := r.Records(0, 1_000_000)
		for _, l := range leaves {
			out = append(out, string(l))
		}
		return err
	}))
	return out
}

// Asked is how often people were asked.
func (h *Harness) Asked() int {
	return strings.Count(strings.Join(h.Records(), "\n"), `"grant.pending"`)
}

// State is a grant's.
func (h *Harness) State(grant string) valetkeyv1.GrantState {
	h.T.Helper()
	g, err := h.OperatorClient().GetGrant(h.T.Context(), &valetkeyv1.OperatorServiceGetGrantRequest{GrantId: grant})
	must(h.T, err)
	return g.GetGrant().GetState()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
