package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
)

// ending says how and why grants end.
type ending struct {
	state                        store.GrantState
	grantType, taskType          string
	cause, operator, correlation string
	// delegate spoke for the agent that ends it; empty for nobody.
	delegate string
}

// end ends an open grant and puts the end of each of its credentials into the
// work table.
func (b *Broker) end(t *ledger.Tx, g *store.Grant, e ending) error {
	g.State, g.EndedAt = e.state, t.Now()
	if err := t.PutGrant(*g); err != nil {
		return err
	}
	if _, err := t.Record(ledger.Record{
		Type: e.grantType, Correlation: e.correlation, Agent: g.Agent, Delegate: e.delegate, Operator: e.operator, Task: g.TaskID, Grant: g.ID,
		EnvelopeDigest: g.Digest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion, Cause: e.cause,
	}); err != nil {
		return err
	}
	issued, err := t.Issuances(store.IssuanceFilter{GrantID: g.ID, State: store.IssuanceIssued})
	if err != nil {
		return err
	}
	for _, iss := range issued {
		if err := b.toRevoke(t, iss, e.cause); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) toRevoke(t *ledger.Tx, iss store.Issuance, cause string) error {
	return t.PutWork(store.Work{
		ID: iss.ID, GrantID: iss.GrantID, Agent: iss.Agent, Cause: cause, Handle: iss.Handle,
		CreatedAt: t.Now(), NextAt: t.Now(),
	})
}

// ReleaseGrant ends the caller's grant. A second release is no error. key may be
// empty; see repeats.go.
func (b *Broker) ReleaseGrant(ctx context.Context, who Caller, key, id string) (store.Grant, error) {
	if _, err := b.Grant(ctx, who.id(), id); err != nil {
		return store.Grant{}, err
	}
	return b.endGrant(ctx, who, key, contentOf("release grant", id), id, ending{
		state: store.GrantReleased, grantType: ledger.GrantReleased, cause: "released", delegate: who.delegate(), correlation: who.Correlation,
	})
}

// RevokeGrant ends any grant, for an operator. key may be empty.
func (b *Broker) RevokeGrant(ctx context.Context, operator Caller, key, id, cause string) (store.Grant, error) {
	return b.endGrant(ctx, operator, key, contentOf("revoke grant", id, cause), id, ending{
		state: store.GrantRevoked, grantType: ledger.GrantRevoked, cause: cause,
		operator: operator.id(), correlation: operator.Correlation,
	})
}

func (b *Broker) endGrant(ctx context.Context, who Caller, key, content, id string, e ending) (g store.Grant, err error) {
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p := passage{tx: t, who: who}
		var first store.Grant
		if known, err := p.recall(key, content, &first); err != nil || known {
			g = first
			return err
		}
		if g, err = t.Grant(id); err != nil {
			return notFound(err, ErrGrantNotFound)
		}
		if !g.State.Open() {
			return b.keepIdle(&p, e, key, content, id, g)
		}
		if err := b.end(t, &g, e); err != nil {
			return err
		}
		return p.keep(key, content, id, g)
	})
	if err == nil {
		b.watches.announce(id)
		b.wake()
	}
	return g, err
}

// recover closes what a crash left open. An open intent may have reached the
// upstream, so it is orphaned and revoked by the name that the intent recorded.
func (b *Broker) recover(ctx context.Context, catalog string) error {
	_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		started := ledger.Record{Type: ledger.BrokerStarted, Catalog: catalog}
		if b.cfg.Board != nil {
			started.ApproverKeys = b.cfg.Board.Keys()
		}
		if _, err := t.Record(started); err != nil {
			return err
		}
		open, err := t.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		if err != nil {
			return err
		}
		for _, iss := range open {
			if err := b.orphan(t, iss, "the broker stopped before the outcome was on the record"); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// orphan closes an open intent whose outcome nobody will write any more, and
// revokes what it may have left.
func (b *Broker) orphan(t *ledger.Tx, iss store.Issuance, cause string) (err error) {
	na := iss.NotAfter
	iss.State = store.IssuanceOrphaned
	if iss.Index, err = t.Record(ledger.Record{
		Type: ledger.IssuanceOrphaned, Agent: iss.Agent, Grant: iss.GrantID, Issuance: iss.ID, NotAfter: &na, Cause: cause,
	}); err != nil {
		return err
	}
	if err := t.PutIssuance(iss); err != nil {
		return err
	}
	return b.toRevoke(t, iss, cause)
}

// orphanStale closes intents whose outcome could not be written while the
// broker went on running: the store was down, or the call panicked.
func (b *Broker) orphanStale(ctx context.Context) error {
	var stale []store.Issuance
	err := b.cfg.Store.View(ctx, func(r store.Reader) error {
		open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		for _, iss := range open {
			// One of a time to come was made before the clock was put back.
			if b.cfg.Now().Sub(iss.At).Abs() > staleIntent {
				stale = append(stale, iss)
			}
		}
		return err
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		for _, iss := range stale {
			now, err := t.Issuance(iss.ID)
			if err != nil {
				return err
			}
			if now.State != store.IssuanceIntended {
				continue // its call was only slow
			}
			if err := b.orphan(t, now, "the outcome was never on the record"); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

const (
	// staleIntent is well past what a call takes to mint and conclude. A slower
	// one finds its intent closed, and delivers nothing.
	staleIntent = 2 * (mintTimeout + commitTimeout)

	tick        = time.Second
	workBatch   = 64
	workers     = 8
	revokeLimit = 10 * time.Second
	maxBackoff  = store.MaxPutOff
)

// background expires grants, closes stale intents, takes back what was not
// delivered, sums refusals up, finds out whether the store takes writes, and
// prunes it.
func (b *Broker) background(ctx context.Context) {
	every := time.NewTicker(tick)
	defer every.Stop()
	var s sweep
	for {
		if err := errors.Join(b.expire(ctx), b.orphanStale(ctx), b.takeBack(ctx), b.flushDueRefusals(ctx), b.probe(ctx), b.prune(ctx, &s)); err != nil && ctx.Err() == nil {
			b.cfg.Log.ErrorContext(ctx, "background work; it is tried again", slogErr(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// workLoop carries ends upstream. It is apart from background, so that an
// upstream that hangs delays no expiry.
func (b *Broker) workLoop(ctx context.Context) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		more, err := b.work(ctx)
		if err != nil && ctx.Err() == nil {
			b.cfg.Log.ErrorContext(ctx, "revoking upstream; it is tried again", slogErr(err))
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
		case <-every.C:
		}
	}
}

func (b *Broker) expire(ctx context.Context) error {
	var due []store.Grant
	err := b.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		due, err = r.Grants(store.GrantFilter{Open: true, ExpiredBy: b.cfg.Now(), Limit: 1000})
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		for _, g := range due {
			g, err := t.Grant(g.ID)
			if err != nil {
				return err
			}
			if !g.State.Open() || t.Now().Before(g.ExpiresAt) {
				continue // it ended otherwise since it was read, or people let its life begin
			}
			e := ending{state: store.GrantExpired, grantType: ledger.GrantExpired, cause: "expired"}
			if g.State == store.GrantPending {
				e = ending{state: store.GrantLapsed, grantType: ledger.GrantLapsed, cause: "not approved in time"}
			}
			if err := b.end(t, &g, e); err != nil {
				return err
			}
		}
		return nil
	})
	for _, g := range due {
		b.watches.announce(g.ID)
	}
	return err
}

// work carries ends upstream. The row is done only when the answer is on the
// record; until then a crash repeats the call, which upstreams take as one.
// more says that there may be more due than was taken. It is false where a row
// could not be written: that one is still due, and is not to be tried in a hurry.
func (b *Broker) work(ctx context.Context) (more bool, err error) {
	var due []store.Work
	err = b.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		due, err = r.DueWork(b.cfg.Now(), workBatch)
		return err
	})
	more = err == nil && len(due) == workBatch
	errs, written := make([]error, len(due)), make([]bool, len(due))
	var wg sync.WaitGroup
	places := make(chan struct{}, workers)
	for i, w := range due {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			written[i], errs[i] = b.workOne(ctx, w)
		})
	}
	wg.Wait()
	return more && !slices.Contains(written, false), errors.Join(err, errors.Join(errs...))
}

func (b *Broker) workOne(ctx context.Context, w store.Work) (written bool, err error) {
	var h mint.Handle
	var outcome mint.RevokeOutcome
	began := b.cfg.Now()
	failed := json.Unmarshal(w.Handle, &h)
	if failed == nil {
		rctx, cancel := context.WithTimeout(ctx, revokeLimit)
		outcome, failed = b.cfg.Minter.Revoke(rctx, h)
		cancel()
	}
	if failed != nil {
		w.Attempts++
		w.NextAt = nextTry(b.cfg.Now(), w.Attempts, h.NotAfter)
		_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
			if newest, err := isNewest(t, w); err != nil || !newest {
				return err
			}
			return t.PutWork(w)
		})
		return err == nil, errors.Join(fmt.Errorf("revoking %s upstream, attempt %d: %w", w.ID, w.Attempts, failed), err)
	}
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		if newest, err := isNewest(t, w); err != nil || !newest {
			return err
		}
		w.DoneAt, w.Outcome = t.Now(), outcome.String()
		if err := t.PutWork(w); err != nil {
			return err
		}
		_, err := t.Record(ledger.Record{
			Type: ledger.RevocationConcluded, Agent: w.Agent, Grant: w.GrantID, Issuance: w.ID, Cause: w.Cause,
			AccessKeyID: h.AccessKeyID, VaultAccessor: h.VaultAccessor, VaultLease: h.VaultLeaseID, Session: h.SessionName,
			Outcome: w.Outcome, LatencyMS: b.cfg.Now().Sub(began).Milliseconds(),
		})
		return err
	})
	return err == nil, err
}

// isNewest says whether w still is what its issuance is to be revoked by. A late
// outcome puts a handle that says more in the place of w while w is carried
// upstream; to write w back would forget it.
func isNewest(t *ledger.Tx, w store.Work) (bool, error) {
	iss, err := t.Issuance(w.ID)
	return bytes.Equal(iss.Handle, w.Handle), err
}

// wake carries ends upstream now.
func (b *Broker) wake() {
	select {
	case b.kick <- struct{}{}:
	default: // it is already woken
	}
}
