package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

var (
	// ErrTaskNotFound means that the caller has no such task.
	ErrTaskNotFound = errors.New("task not found")
	// ErrTaskClosed means that the task has ended.
	ErrTaskClosed = errors.New("task closed")
	// ErrGrantNotFound means that the caller has no such grant.
	ErrGrantNotFound = errors.New("grant not found")
	// ErrGrantEnded means that the grant cannot be minted from any more.
	ErrGrantEnded = errors.New("grant ended")
	// ErrConflict means that an idempotency key came before with other content.
	ErrConflict = errors.New("idempotency key used with other content")
	// ErrAlreadyIssued means that a repeat asks for a secret that was delivered
	// or lost. Secrets are not kept, so it cannot be sent again.
	ErrAlreadyIssued = errors.New("already issued")
)

const (
	// permitLife is how long a permit can be used: the time to reach STS.
	permitLife = 10 * time.Second
	// mintTimeout bounds step 7 even when the upstream hangs.
	mintTimeout = 15 * time.Second
	// commitTimeout bounds the record of an outcome.
	commitTimeout = 10 * time.Second
)

// Rules are a catalog and the policies over it, which change together.
type Rules struct {
	Catalog *scopes.Catalog
	Policy  *policy.Engine
}

// Config configures New. Every field is required but those that say what zero
// means.
type Config struct {
	Store  store.Store
	Guard  *guard.Guard
	Minter mint.Minter
	Signer *mint.Signer
	// Load reads the catalog and the policies; it is called at start and reload.
	Load func() (Rules, error)
	// Reason names an error for the record, as the caller is told it.
	Reason func(error) string
	Now    func() time.Time
	Log    *slog.Logger
	// Board is who may approve what needs people; nil for nobody.
	Board *approval.Board
	// Watches is how many grants one agent may watch at once, by the guard's Key;
	// 64 when zero.
	Watches int
	// Retention is how long grants are kept after their end, with what belongs to
	// them; at least 24 h, and for ever when zero. The ledger keeps all.
	Retention time.Duration
}

// Broker issues credentials. It is safe for concurrent use.
type Broker struct {
	cfg     Config
	ledger  *ledger.Ledger
	rules   atomic.Pointer[Rules]
	refused refusals
	// undelivered is what takeBack is to look at.
	undelivered undelivered

	watches watches
	watched *watchedStore // what cfg.Store is wrapped in

	reload sync.Mutex // held from the load to the swap, so that the newest record names what serves

	kick   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New loads the rules, closes what a crash left open, and starts the work that
// ends grants.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Store == nil || cfg.Guard == nil || cfg.Minter == nil || cfg.Signer == nil || cfg.Load == nil || cfg.Reason == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("broker: every field of Config but Board, Watches and Retention is required")
	}
	if cfg.Retention != 0 && cfg.Retention < keepKeys {
		return nil, errRetention
	}
	if cfg.Watches == 0 {
		cfg.Watches = defaultWatches
	}
	watched := &watchedStore{Store: cfg.Store, now: cfg.Now, log: cfg.Log}
	cfg.Store = watched
	b := &Broker{cfg: cfg, watched: watched, ledger: ledger.New(cfg.Store, cfg.Now), kick: make(chan struct{}, 1)}
	rules, err := cfg.Load()
	if err != nil {
		return nil, err
	}
	b.rules.Store(&rules)
	if err := b.recover(ctx, rules.Catalog.Version()); err != nil {
		return nil, fmt.Errorf("closing what was left open: %w", err)
	}
	bg, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.wg.Go(func() { b.background(bg) })
	b.wg.Go(func() { b.workLoop(bg) })
	return b, nil
}

// Close stops the background work and waits for it. The store stays open.
func (b *Broker) Close() error {
	b.cancel()
	b.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	return b.flushRefusals(ctx)
}

// Ledger is the record, for those who serve and prove it.
func (b *Broker) Ledger() *ledger.Ledger { return b.ledger }

// Caller is who calls, and the id that ties the call's records together.
type Caller struct {
	Agent       identity.Agent
	Correlation string
}

func (c Caller) id() string { return c.Agent.ID().String() }

// delegate is who speaks for the agent; empty for itself.
func (c Caller) delegate() string {
	if d := c.Agent.Delegate(); !d.IsZero() {
		return d.String()
	}
	return ""
}

// Ask is a request for a grant.
type Ask struct {
	Key, TaskID, Scope, ScopeVersion string
	Params                           map[string][]string
	TTL                              time.Duration
	// Justification is recorded and shown to people. Nothing decides on it.
	Justification string
	Mint          bool
}

// Issued is what came of a request. Credential and Receipt are zero unless
// something was minted.
type Issued struct {
	Grant      store.Grant
	Credential mint.Credential
	Receipt    ledger.Receipt
}

// RequestGrant asks for a grant, and with Mint delivers its first credential.
// A refusal by policy or guard is on the record before it is returned, and
// Issued.Grant names it.
func (b *Broker) RequestGrant(ctx context.Context, who Caller, ask Ask) (Issued, error) {
	task, err := b.task(ctx, who.id(), ask.TaskID)
	if err != nil {
		return b.answerOr(ctx, who, ask, err)
	}
	d, err := b.decide(ctx, who, task, scopes.Query{Scope: ask.Scope, Version: ask.ScopeVersion, Params: ask.Params, TTL: ask.TTL}, approval.Tally{})
	if err != nil {
		return b.answerOr(ctx, who, ask, err)
	}
	record, err := describe(who, task, d)
	if err != nil {
		return Issued{}, err
	}
	record.Purpose = ask.Justification
	var p passage
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p = passage{tx: t, who: who, record: record}
		return b.grant(&p, d, ask)
	})
	if err != nil {
		return Issued{}, err
	}
	if p.refusal != nil || !p.intent.Valid() {
		return Issued{Grant: p.grant}, p.refusal
	}
	return b.issue(ctx, p.grant, p.intent)
}

// MintCredential mints again from a live grant. Everything is decided again,
// whatever was true when the grant was asked for.
func (b *Broker) MintCredential(ctx context.Context, who Caller, key, grantID string) (Issued, error) {
	g, err := b.Grant(ctx, who.id(), grantID)
	if err != nil {
		return Issued{}, err
	}
	tally, err := b.tally(ctx, who, g)
	if isRefusal(err) || errors.Is(err, ErrLapsed) {
		err = b.refuseMinting(ctx, who, g, err)
	}
	if err != nil {
		return Issued{}, err
	}
	task, err := b.task(ctx, who.id(), g.TaskID)
	if err != nil {
		return Issued{}, err
	}
	d, err := b.decide(ctx, who, task, scopes.Query{Scope: g.Scope, Version: g.ScopeVersion, Params: g.Params, TTL: g.TTL}, tally)
	if err != nil {
		return Issued{}, err
	}
	record, err := describe(who, task, d)
	if err != nil {
		return Issued{}, err
	}
	record.Approvals = tally.Counts()
	var p passage
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p = passage{tx: t, who: who, record: record, tally: tally}
		return b.mintAgain(&p, d, key, grantID)
	})
	if err != nil {
		return Issued{}, err
	}
	if p.refusal != nil {
		return Issued{Grant: p.grant}, p.refusal
	}
	return b.issue(ctx, p.grant, p.intent)
}

// decide is steps 2 and 3, with what people have said.
func (b *Broker) decide(ctx context.Context, who Caller, task store.Task, q scopes.Query, said approval.Tally) (policy.Decision, error) {
	rules := b.rules.Load()
	req, err := rules.Catalog.Resolve(q)
	if err != nil {
		return policy.Decision{}, err
	}
	return rules.Policy.Decide(ctx, policy.Input{
		Agent: who.Agent, Request: req, Now: b.cfg.Now(), TTL: req.TTL(),
		Task: policy.Task{ID: task.ID, Environment: task.Environment, OnBehalfOf: task.OnBehalfOf}, Approvals: said.Counts(),
	})
}

// pass is steps 4 and 5.
func (b *Broker) pass(t *ledger.Tx, d policy.Decision, said approval.Tally) (approval.Clearance, error) {
	a, err := b.cfg.Guard.Admit(t, d)
	if err != nil {
		return approval.Clearance{}, err
	}
	return approval.Clear(a, said)
}

// issue is steps 7 and 8: the intent is durable, the outcome will be before
// anything is returned. The caller going away changes nothing.
func (b *Broker) issue(ctx context.Context, g store.Grant, intent ledger.Intent) (Issued, error) {
	ctx = context.WithoutCancel(ctx)
	cred, mintErr := b.mint(ctx, intent)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var ended error
	receipt, err := b.ledger.Conclude(ctx, intent, func(t *ledger.Tx, r *ledger.Record, iss *store.Issuance) (err error) {
		g, ended, err = b.conclude(t, r, iss, intent.Clearance().Decision().Agent(), cred, mintErr)
		return err
	})
	if err = errors.Join(mintErr, ended, err); err != nil {
		// Not delivered. What may exist is in the work table; or is an open intent,
		// where that could not be written, and is revoked when it is stale; or is on
		// the record as issued, where only its proof failed, and is taken back.
		if cred.Valid() {
			b.undelivered.add(intent.Issuance().ID)
		}
		b.wake()
		return Issued{Grant: g}, err
	}
	b.watches.announce(g.ID)
	return Issued{Grant: g, Credential: cred, Receipt: receipt}, nil
}

func (b *Broker) mint(ctx context.Context, intent ledger.Intent) (mint.Credential, error) {
	permit, err := b.permit(intent)
	if err != nil {
		return mint.Credential{}, mint.Harmless(err)
	}
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	cred, err := b.cfg.Minter.Mint(ctx, permit)
	if err == nil && !cred.Valid() {
		err = fmt.Errorf("%w: no credential came", mint.ErrInvalid)
	}
	return cred, err
}

// permit turns a durable intent into the order to mint exactly that.
func (b *Broker) permit(intent ledger.Intent) (mint.Permit, error) {
	if !intent.Valid() {
		return mint.Permit{}, ledger.ErrNotDurable
	}
	c, iss, now := intent.Clearance(), intent.Issuance(), b.cfg.Now()
	d := c.Decision()
	req := d.Request()
	return b.cfg.Signer.Sign(mint.Order{
		GrantID: iss.GrantID, TaskID: d.Task().ID, AgentID: d.Agent().ID().String(),
		ScopeName: req.Scope().Name(), ScopeVersion: req.Scope().Version(),
		EnvelopeDigest: c.Digest(), IssuanceID: iss.ID, SessionName: intent.Session(),
		Role: req.Scope().Role(), Permissions: req.Permissions(), SourceCIDRs: req.Scope().SourceCIDRs(), Regions: req.Scope().Regions(),
		NotAfter: iss.NotAfter, IssuedAt: now, PermitExpires: now.Add(permitLife),
	})
}

// conclude fills in the outcome, inside its transaction. ended says that the
// grant was ended while its credential was being minted.
func (b *Broker) conclude(t *ledger.Tx, r *ledger.Record, iss *store.Issuance, who identity.Agent, cred mint.Credential, mintErr error) (g store.Grant, ended, err error) {
	if g, err = t.Grant(iss.GrantID); err != nil {
		return g, nil, err
	}
	if cred.Valid() {
		h := cred.Handle()
		r.AccessKeyID, r.VaultAccessor, r.VaultLease = h.AccessKeyID, h.VaultAccessor, h.VaultLeaseID
		if iss.Handle, err = json.Marshal(h); err != nil {
			return g, nil, err
		}
	}
	open, err := t.Issuance(iss.ID)
	if err != nil {
		return g, nil, err
	}
	frozen := guard.FrozenAgent(t, who)
	if frozen != nil && !errors.Is(frozen, guard.ErrFrozen) {
		return g, nil, frozen
	}
	approved := b.stillApproved(t.Tx, g)
	if approved != nil && !errors.Is(approved, approval.ErrNeeded) {
		return g, nil, approved
	}
	switch {
	case mintErr != nil && !mint.Maybe(mintErr):
		r.Type, r.Reason, iss.State = ledger.IssuanceFailed, b.cfg.Reason(mintErr), store.IssuanceAbandoned
		return g, nil, nil
	case mintErr != nil:
		r.Type, r.Reason, iss.State = ledger.IssuanceFailed, b.cfg.Reason(mintErr), store.IssuanceOrphaned
		return g, nil, b.toRevoke(t, *iss, "the minting failed and may have left a credential")
	case !g.State.Live() || open.State != store.IssuanceIntended:
		r.Type, r.Reason, iss.State = ledger.IssuanceOrphaned, b.cfg.Reason(ErrGrantEnded), store.IssuanceOrphaned
		return g, ErrGrantEnded, b.toRevoke(t, *iss, "the grant ended while its credential was minted")
	case frozen != nil:
		r.Type, r.Reason, iss.State = ledger.IssuanceOrphaned, b.cfg.Reason(guard.ErrFrozen), store.IssuanceOrphaned
		return g, guard.ErrFrozen, b.toRevoke(t, *iss, "the agent was frozen while its credential was minted")
	case approved != nil:
		r.Type, r.Reason, iss.State = ledger.IssuanceOrphaned, b.cfg.Reason(approved), store.IssuanceOrphaned
		return g, approved, b.toRevoke(t, *iss, "an approver was frozen while the credential was minted")
	}
	r.Type, iss.State = ledger.IssuanceIssued, store.IssuanceIssued
	g.State = store.GrantActive
	return g, nil, t.PutGrant(g)
}
