package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/valetkey/valetkey/broker"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/server"
	"github.com/valetkey/valetkey/scopes"
)

// drainTimeout bounds a graceful stop; then running calls are cut off. What
// they had begun upstream is on the record all the same.
const drainTimeout = 30 * time.Second

// loadRules loads the catalog and the policies, and holds them against the
// config.
func (c Config) loadRules() (broker.Rules, error) {
	cat, err := scopes.Load(c.Catalog)
	if err != nil {
		return broker.Rules{}, err
	}
	if err := rolesFor(cat, c.Roles); err != nil {
		return broker.Rules{}, err
	}
	if cat, err = cat.Under(c.dialects()); err != nil {
		return broker.Rules{}, err
	}
	if err := c.proveCeilings(cat); err != nil {
		return broker.Rules{}, err
	}
	engine, err := policy.New(policy.Config{
		Dir: c.Catalog, Catalog: cat, DestructiveApprovals: c.Floor.DestructiveApprovals, AgentPaths: c.Identity.PathTemplates,
	})
	if err != nil {
		return broker.Rules{}, err
	}
	directory, err := c.directory("checked") // the name plays no part here
	if err != nil {
		return broker.Rules{}, err
	}
	if directory != nil {
		if err := directory.CheckGroups(engine.Groups()); err != nil {
			return broker.Rules{}, fmt.Errorf("%w: approval: %w", policy.ErrLoad, err)
		}
	}
	return broker.Rules{Catalog: cat, Policy: engine}, nil
}

// addresses are where the daemon has come to listen.
type addresses struct{ grpc, jwt, ledger, metrics string }

// serve runs the daemon until ctx is done. ready is called once, when it serves.
func serve(ctx context.Context, c Config, src identity.Source, log *slog.Logger, ready func(addresses, *ledger.Key)) (err error) {
	key, st, err := openStore(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	release, err := anchored(ctx, c, key, st, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, role := range c.unproven() {
		log.WarnContext(ctx, "a role's ceiling is unproven: nothing checks that its scopes give no more than it should", slog.String("role", role))
	}
	mark, err := markOf(key)
	if err != nil {
		return err
	}
	directory, err := c.directory(key.Origin())
	if err != nil {
		return err
	}
	var minter mint.ByRole
	b, err := broker.Open(ctx, broker.Config{
		Store: st, Key: key, Load: c.loadRules, Now: time.Now, Log: log, Directory: directory, PathTemplates: c.Identity.PathTemplates,
		Watches: c.Guard.Watches, Retention: c.Store.retention(),
		Guard: guard.Config{
			RatePerMinute: c.Guard.RatePerMinute, Burst: c.Guard.Burst, RateBy: c.Guard.RateBy,
			CallsPerMinute: c.Guard.CallsPerMinute, CallBurst: c.Guard.CallBurst,
			DelegateRatePerMinute: c.Guard.DelegateRatePerMinute, DelegateBurst: c.Guard.DelegateBurst,
		},
		Minters: func(permits *mint.Verifier) (_ mint.Minter, err error) {
			minter, err = minters(ctx, c.Roles, src, permits, mark, log)
			return minter, err
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "valetkey_store_damaged", Help: "1 while the store is known to be damaged, and nothing is minted; 0 otherwise.",
	}, func() float64 { return one(b.Ledger().Damage() != nil) }))
	traced, flush, err := tracing(ctx, c.Traces)
	if err != nil {
		return err
	}
	d := &daemon{
		log: log, reg: reg, traced: traced, health: newReadiness(b.Ready, b.Operable),
		stops: []func(context.Context) error{flush}, draining: make(chan struct{}), budgets: c.budgets(ctx, log),
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go d.health.follow(following)
	room := newRooms(minter)
	reg.MustRegister(room)
	go room.look(following, log)
	var at addresses
	if c.Metrics.Listen != "" { // the first, so that it is the last to go
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
		d.health.handle(mux)
		if at.metrics, err = d.http(ctx, c.Metrics.Listen, d.budgets.Metrics, mux); err != nil {
			return err
		}
	}
	if at.grpc, err = d.grpc(c, b, src, c.Listen, false); err != nil {
		return err
	}
	if c.Identity.JWT.Listen != "" {
		if at.jwt, err = d.grpc(c, b, src, c.Identity.JWT.Listen, true); err != nil {
			return err
		}
	}
	if c.Ledger.Listen != "" {
		if at.ledger, err = d.http(ctx, c.Ledger.Listen, d.budgets.Ledger, b.Ledger().Handler(log)); err != nil {
			return err
		}
	}
	log.InfoContext(ctx, "serving", slog.String("grpc", at.grpc), slog.String("jwt", at.jwt), slog.String("ledger", at.ledger),
		slog.String("metrics", at.metrics), slog.String("catalog", b.Catalog().Version()))
	ready(at, key)
	select {
	case <-ctx.Done():
	case err := <-d.failed():
		return err
	}
	d.health.drain()
	log.InfoContext(ctx, "draining", slog.Duration("after", c.drain()))
	grace := time.NewTimer(c.drain())
	defer grace.Stop()
	select {
	case <-grace.C:
		return nil
	case err := <-d.failed():
		return err
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// daemon holds the listeners.
type daemon struct {
	log    *slog.Logger
	reg    *prometheus.Registry
	traced grpc.ServerOption
	health *readiness
	mu     sync.Mutex
	stops  []func(context.Context) error
	errs   chan error
	// budgets are what each listener's callers may use.
	budgets listen.Budgets
	// draining is closed by stop, once.
	draining chan struct{}
}

func (d *daemon) failed() chan error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.errs == nil {
		d.errs = make(chan error, 8)
	}
	return d.errs
}

func (d *daemon) grpc(c Config, b *broker.Broker, src identity.Source, address string, byJWT bool) (string, error) {
	callers := c.callers() // the same on each listener: who is what hangs on no way in
	callers.AllowJWT, callers.JWTAudience = byJWT, c.Identity.JWT.Audience
	budget := d.budgets.MTLS
	if byJWT {
		budget = d.budgets.JWT
	}
	s, err := b.Server(callers, src, server.Config{
		Draining: d.draining, Budget: budget, Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"listener": listenerName(byJWT)}, d.reg),
	}, d.traced)
	if err != nil {
		return "", err
	}
	healthpb.RegisterHealthServer(s, d.health.grpc)
	l, err := listen.TCP(address, budget.Conns)
	if err != nil {
		return "", fmt.Errorf("opening the gRPC listener: %w", err)
	}
	errs := d.failed()
	go func() { errs <- s.Serve(l) }()
	d.stops = append(d.stops, func(ctx context.Context) error {
		done := make(chan struct{})
		go func() { s.GracefulStop(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			s.Stop()
		}
		return nil
	})
	return l.Addr().String(), nil
}

func listenerName(byJWT bool) string {
	if byJWT {
		return "jwt"
	}
	return "mtls"
}

func (d *daemon) http(ctx context.Context, address string, budget listen.HTTP, h http.Handler) (string, error) {
	l, err := listen.TCP(address, budget.Conns)
	if err != nil {
		return "", fmt.Errorf("opening an HTTP listener: %w", err)
	}
	s := budget.Server(h)
	s.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	errs := d.failed()
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			errs <- err
		}
	}()
	d.stops = append(d.stops, s.Shutdown)
	return l.Addr().String(), nil
}

func (d *daemon) stop() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	close(d.draining)
	for _, stop := range slices.Backward(d.stops) { // last started, first stopped; traces flush at the end
		err = errors.Join(err, stop(ctx))
	}
	return err
}
