package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// ErrSettled means that a vote comes too late: the grant has ended, or a yes is
// wanted of nobody any more.
var ErrSettled = errors.New("not waiting for approval")

// ErrFrozenApprover means that an operator has stopped this person's decisions.
var ErrFrozenApprover = fmt.Errorf("approver frozen: %w", guard.ErrFrozen)

// clockLeeway is how far a request may lie in the future before its clock is taken
// for one that was ahead.
const clockLeeway = 30 * time.Second

// Vote takes an approver's signed decision. A yes clears the request where it is
// the last that was needed; a no ends it, also after it was cleared, with what was
// minted from it. The vote is on the record, whole, with what comes of it. Sent
// again it is one vote; a no after a yes is a no.
func (b *Broker) Vote(ctx context.Context, who Caller, id string, statement []byte, signature string) (p Pending, err error) {
	v, err := b.judge(ctx, who, id, statement, signature)
	if err != nil {
		return p, err
	}
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		if err := b.cfg.Guard.Throttle(t, who.Agent); err != nil {
			return err
		}
		if frozen, err := b.frozenPerson(t.Tx, v.Person); err != nil || frozen {
			return cmp.Or(err, ErrFrozenApprover)
		}
		g, err := b.decidable(t.Tx, who, id)
		if err != nil {
			return err
		}
		again, err := b.voted(t, g, v)
		switch {
		case err != nil:
			return err
		case again:
			// Their votes may have come to count since: somebody was frozen for a while.
			if wanted(g, v, t.Now()) {
				err = b.clearWhereEnough(t, who, &g)
			}
		case !wanted(g, v, t.Now()):
			return ErrSettled
		default:
			err = b.take(t, who, &g, v)
		}
		if err != nil {
			return err
		}
		p, err = b.pending(t.Tx, who, g)
		return err
	})
	if err == nil {
		b.watches.announce(id)
		b.wake()
	}
	return p, err
}

// judge verifies a vote before anybody waits for its transaction. What it is about
// never changes.
func (b *Broker) judge(ctx context.Context, who Caller, id string, statement []byte, signature string) (v approval.Vote, err error) {
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		g, err := b.decidable(r, who, id)
		if err != nil {
			return err
		}
		v, err = b.cfg.Board.Judge(caseOf(g), who.id(), statement, signature)
		return err
	})
	return v, err
}

// wanted says whether a vote still changes something.
func wanted(g store.Grant, v approval.Vote, now time.Time) bool {
	if v.Decision == evidence.Reject {
		return g.State.Open()
	}
	// One of a time to come was asked for before the clock was put back, and would
	// wait for longer than it may.
	return g.State == store.GrantPending && now.Before(g.ExpiresAt) && now.Add(clockLeeway).After(g.RequestedAt)
}

// voted says whether the same person has said the same before, in a way that
// counts still.
func (b *Broker) voted(t *ledger.Tx, g store.Grant, v approval.Vote) (bool, error) {
	kept, err := t.Approvals(g.ID)
	for _, k := range kept {
		if k.Person == v.Person && k.Decision == string(v.Decision) && b.cfg.Board.Stands(caseOf(g), voteOf(k)) {
			return true, nil
		}
	}
	return false, err
}

// take keeps a vote and does what follows of it.
func (b *Broker) take(t *ledger.Tx, who Caller, g *store.Grant, v approval.Vote) error {
	if err := t.PutApproval(store.Approval{
		GrantID: g.ID, Person: v.Person, Decision: string(v.Decision), Comment: v.Comment,
		Statement: string(v.Statement), Signature: v.Signature, At: t.Now(),
	}); err != nil {
		return err
	}
	r := ledger.Record{
		Type: ledger.ApprovalGiven, Correlation: who.Correlation, Agent: g.Agent, Task: g.TaskID, Grant: g.ID,
		EnvelopeDigest: g.Digest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion, Decision: string(v.Decision),
		Approver: v.Person, ApproverID: who.id(), ApprovalStatement: string(v.Statement), ApprovalSignature: v.Signature,
	}
	if v.Decision == evidence.Reject {
		r.Type = ledger.ApprovalRefused
	}
	if _, err := t.Record(r); err != nil {
		return err
	}
	if v.Decision == evidence.Reject {
		return b.reject(t, who, g, v)
	}
	return b.clearWhereEnough(t, who, g)
}

// clearWhereEnough clears a pending grant once nobody's yes is lacking.
func (b *Broker) clearWhereEnough(t *ledger.Tx, who Caller, g *store.Grant) error {
	if g.State != store.GrantPending {
		return nil
	}
	tally, err := b.count(t.Tx, *g)
	if err != nil || len(approval.Lacking(needsOf(*g), tally)) > 0 {
		return err
	}
	return b.clear(t, who, g, tally)
}

// reject ends a grant, and has the same not asked for again for a while.
func (b *Broker) reject(t *ledger.Tx, who Caller, g *store.Grant, v approval.Vote) error {
	if d := b.cfg.Board.CoolDown(); d > 0 {
		if err := t.PutCooling(coolingKey(*g), t.Now().Add(d)); err != nil {
			return err
		}
	}
	e := ending{state: store.GrantRejected, grantType: ledger.GrantRejected, cause: "rejected by " + v.Person, correlation: who.Correlation}
	if err := b.end(t, g, e); err != nil {
		return err
	}
	// The same may have been asked for in other tasks before: to have several of a
	// kind waiting must not be a way around a no.
	waiting, err := t.Grants(store.GrantFilter{Key: g.Case.Key, Pending: true, Limit: -1})
	if err != nil {
		return err
	}
	e.cause += ", as " + g.ID
	for _, w := range waiting {
		if coolingKey(w) != coolingKey(*g) {
			continue
		}
		if err := b.end(t, &w, e); err != nil {
			return err
		}
	}
	return nil
}

// clear begins the life that was approved. Minting decides again.
func (b *Broker) clear(t *ledger.Tx, who Caller, g *store.Grant, tally approval.Tally) error {
	g.State, g.ExpiresAt = store.GrantCleared, t.Now().Add(g.TTL)
	if err := t.PutGrant(*g); err != nil {
		return err
	}
	_, err := t.Record(ledger.Record{
		Type: ledger.GrantCleared, Correlation: who.Correlation, Agent: g.Agent, Task: g.TaskID, Grant: g.ID,
		EnvelopeDigest: g.Digest, PermissionsDigest: g.PermissionsDigest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion,
		Params: g.Params, TTLSeconds: int64(g.TTL.Seconds()), Approvals: tally.Counts(), NotAfter: &g.ExpiresAt,
	})
	return err
}
