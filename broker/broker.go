// Package broker is the wiring: Open puts the services together on one store, and Server
// is a way in to them. It decides nothing.
//
//	issue       from a request to a credential: the nine steps
//	approval    what waits for people, and their votes
//	revocation  what has ended, carried upstream
//	refusals    what was refused at the edge
//	notify      who waits for a grant to change
//	lookup      what callers may read
//	rules       the catalog and the policies that serve
//	health      whether the store takes writes
//
// They stand on ledger, which takes changes of state from grant alone.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/approval"
	"github.com/valetkey/valetkey/broker/internal/health"
	"github.com/valetkey/valetkey/broker/internal/issue"
	"github.com/valetkey/valetkey/broker/internal/lookup"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/internal/refusals"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/internal/rules"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/server"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

// Rules are a catalog and the policies over it, which change together.
type Rules = rules.Rules

// Config configures Open. Every field is required but those that say what zero means.
type Config struct {
	// Store stays open when the Broker is closed.
	Store store.Store
	// Key signs the log. An agent's sessions upstream have names that are derived from it.
	Key *ledger.Key
	// Minters makes the upstream's end, which takes the permits that it is given.
	Minters func(*mint.Verifier) (mint.Minter, error)
	// Load reads the catalog and the policies; it is called at start and reload.
	Load func() (Rules, error)
	Now  func() time.Time
	Log  *slog.Logger
	// Guard is how much callers may ask for; its zero value has defaults.
	Guard guard.Config
	// Directory is who may approve what needs people; nil for nobody.
	Directory *quorum.Directory
	// PathTemplates are those of agents' SPIFFE IDs. What one says of {user} is whose an
	// agent is.
	PathTemplates []string
	// Watches is how many grants one agent may watch at once, by the guard's Key;
	// 64 when zero.
	Watches int
	// Retention is how long grants are kept after their end, with what belongs to
	// them; at least 24 h, and for ever when zero. The ledger keeps all.
	Retention time.Duration
}

// tick is the pause between two rounds of the background work.
const tick = time.Second

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	cfg      Config
	health   *health.Store
	ledger   *ledger.Ledger
	services server.Services

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open loads the rules, closes what a crash left open, and starts the work that
// ends grants.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Store == nil || cfg.Key == nil || cfg.Minters == nil || cfg.Load == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("broker: Store, Key, Minters, Load, Now and Log are required")
	}
	if cfg.Retention != 0 && cfg.Retention < revocation.KeepKeys {
		return nil, errors.New("broker: Retention must be 0, for ever, or at least 24 h")
	}
	watched := health.Watch(cfg.Store, cfg.Now, cfg.Log)
	cfg.Store = nil // only the ledger writes
	b := &Broker{cfg: cfg, health: watched}
	b.ledger = ledger.New(b.health, cfg.Now)
	if err := b.wire(); err != nil {
		return nil, err
	}
	if err := b.services.Revocation.Recover(ctx, b.Catalog().Version()); err != nil {
		return nil, fmt.Errorf("closing what was left open: %w", err)
	}
	bg, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.wg.Go(func() { b.background(bg) })
	b.wg.Go(func() { b.services.Revocation.Run(bg) })
	b.wg.Go(func() { b.services.Orders.Run(bg) })
	return b, nil
}

// wire makes the services.
func (b *Broker) wire() error {
	c := b.cfg
	signer, err := mint.NewSigner()
	if err != nil {
		return err
	}
	permits, err := mint.NewVerifier(signer, c.Now)
	if err != nil {
		return err
	}
	minter, err := c.Minters(permits)
	if err != nil {
		return err
	}
	if minter == nil {
		return errors.New("broker: Minters made none")
	}
	g, err := guard.New(c.Guard)
	if err != nil {
		return err
	}
	owner, err := identity.Owners(c.PathTemplates)
	if err != nil {
		return err
	}
	sessions, err := c.Key.Derive("session names")
	if err != nil {
		return err
	}
	names, err := mint.NewSessionNames(sessions)
	if err != nil {
		return err
	}
	live, err := rules.New(b.ledger, c.Load)
	if err != nil {
		return err
	}
	hub := notify.New(b.health, g.Subject, c.Watches)
	ends := revocation.New(revocation.Config{
		Ledger: b.ledger, Store: b.health, Guard: g, Minter: minter, Notify: hub, Now: c.Now, Log: c.Log, Directory: c.Directory, Owner: owner, Retention: c.Retention,
	})
	b.services = server.Services{
		Issue: issue.New(issue.Config{
			Ledger: b.ledger, Store: b.health, Rules: live, Guard: g, Minter: minter, Signer: signer, Names: names, Revocation: ends, Notify: hub,
			Now: c.Now, Log: c.Log, Directory: c.Directory,
		}),
		Approval:   approval.New(approval.Config{Ledger: b.ledger, Store: b.health, Guard: g, Revocation: ends, Notify: hub, Now: c.Now, Directory: c.Directory}),
		Revocation: ends, Orders: revocation.NewOrders(ends), Refusals: refusals.New(b.ledger, g, c.Now, c.Log), Watches: hub, Lookup: lookup.New(b.health, b.ledger), Rules: live, Guard: g, Now: c.Now,
	}
	return nil
}

// background does what is due, again and again.
func (b *Broker) background(ctx context.Context) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		err := errors.Join(b.health.TellDamage(ctx, b.ledger), b.services.Revocation.Tick(ctx), b.services.Refusals.FlushDue(ctx), b.health.Probe(ctx, b.ledger))
		if err != nil && ctx.Err() == nil {
			b.cfg.Log.ErrorContext(ctx, "background work; it is tried again", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// Close stops the background work and waits for it. The store stays open.
func (b *Broker) Close() error {
	b.cancel()
	b.wg.Wait()
	return b.services.Refusals.Close()
}

// Server is one way in for callers, who authenticate as callers says: with a certificate
// of theirs, or with a token where it allows JWTs. of leaves Services, Auth, Log and
// LedgerKey to the Broker.
func (b *Broker) Server(callers identity.Config, src identity.Source, of server.Config, opts ...grpc.ServerOption) (*grpc.Server, error) {
	auth, err := identity.New(callers, src, src)
	if err != nil {
		return nil, err
	}
	tls := identity.ServerTLSWithoutClient(src)
	if !callers.AllowJWT {
		tls = server.LoggedRefusals(identity.ServerTLS(src, callers.TrustDomains), b.cfg.Log)
	}
	tls.NextProtos = []string{"h2"} // grpc-go's clients insist on it
	of.Services, of.Auth, of.Log, of.LedgerKey = b.services, auth, b.cfg.Log, b.cfg.Key.VerifierKey()
	return server.New(of, append(opts, grpc.Creds(credentials.NewTLS(tls)))...)
}

// Ready is nil while the broker can mint: the store takes writes, as the last one
// showed, and is sound.
func (b *Broker) Ready() error { return b.health.Ready() }

// Operable is nil while operators' calls can be carried out.
func (b *Broker) Operable() error { return b.health.Operable() }

// Ledger is the record, for those who serve and prove it.
func (b *Broker) Ledger() *ledger.Ledger { return b.ledger }

// Catalog is the catalog that serves now.
func (b *Broker) Catalog() *scopes.Catalog { return b.services.Rules.Now().Catalog }
