package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
)

var (
	// ErrRejected means that people said no to this grant, or to the same shortly
	// before.
	ErrRejected = fmt.Errorf("rejected by an approver: %w", approval.ErrDenied)
	// ErrLapsed means that people did not say enough in time.
	ErrLapsed = fmt.Errorf("not approved in time: %w", ErrGrantEnded)
	// ErrTooManyPending means that as many requests of the agent's, of its delegate's
	// or of all agents' wait for people as may.
	ErrTooManyPending = fmt.Errorf("too many requests wait for people: %w", guard.ErrRateLimited)
)

// hold has a request that needs people wait for them, where there are people who
// could be enough. Then no refusal is left. known is a request that waits already
// for the same: people are not asked twice.
func (b *Broker) hold(p *passage, d policy.Decision, ask Ask, refusal error) (known string, _, _ error) {
	var needed *approval.NeededError
	if !errors.As(refusal, &needed) || b.cfg.Board == nil {
		return "", refusal, nil
	}
	envelope, err := approval.Envelope(d)
	if err != nil {
		return "", nil, err
	}
	g := &p.grant
	g.Case = &store.Case{
		Envelope: string(envelope), Nonce: evidence.NewNonce(), Justification: ask.Justification,
		Identity: approval.IdentityOf(d), Claim: d.Task().OnBehalfOf, Key: b.cfg.Guard.Key(p.who.Agent), Delegate: p.who.delegate(),
	}
	p.need(needed.Needs)
	known, refusal, err = b.mayWait(p)
	switch {
	case known != "", err != nil:
		return known, nil, err
	case refusal != nil:
		g.Case, g.Needs, p.record.Needs = nil, nil, nil // refuse writes down what they are of a NeededError
		return "", refusal, nil
	}
	g.State, g.ExpiresAt = store.GrantPending, g.RequestedAt.Add(b.cfg.Board.Wait())
	p.record.Type, p.record.Envelope, p.record.NotAfter = ledger.GrantPending, envelope, &g.ExpiresAt
	return "", nil, nil
}

// mayWait says whether p.grant may wait for people. Where it may not, that is a
// refusal, which is on the record and has cost the agent a token.
func (b *Broker) mayWait(p *passage) (known string, refusal, err error) {
	g := &p.grant
	frozen, err := b.frozenPeople(p.tx.Tx)
	if err != nil {
		return "", nil, err
	}
	if err := b.cfg.Board.Reachable(caseOf(*g), frozen); err != nil {
		b.cfg.Log.Warn("nobody is asked: fewer people are listed than could approve it", slog.String("grant", g.ID), slog.String("scope", g.Scope))
		return "", err, nil
	}
	mine, err := p.tx.Grants(store.GrantFilter{Key: g.Case.Key, Pending: true, Limit: -1})
	if err != nil {
		return "", nil, err
	}
	for _, w := range mine { // as many as may wait, at most
		if w.Digest == g.Digest && p.tx.Now().Before(w.ExpiresAt) {
			p.grant = w
			return w.ID, nil, nil
		}
	}
	until, err := p.tx.Cooling(coolingKey(*g))
	if err != nil {
		return "", nil, err
	}
	// One that ends later than any does was made while the clock was ahead.
	if left := until.Sub(p.tx.Now()); left > 0 && left <= b.cfg.Board.CoolDown() {
		g.Refusal = store.RefusedRejected
		return "", ErrRejected, nil
	}
	n, err := p.tx.Waiting(g.Case.Key, g.Case.Delegate)
	if err != nil {
		return "", nil, err
	}
	if most := b.cfg.Board.Pending(); n.Key >= most || n.Delegate >= most*approval.PerDelegate || n.All >= approval.MaxWaiting {
		g.Refusal = store.RefusedTooMany
		return "", ErrTooManyPending, nil
	}
	return "", nil, nil
}

// coolingKey is what the same request is told by, whatever its task: who asks, for
// what, with which parameters.
func coolingKey(g store.Grant) string { return contentOf("cooling", g.Case.Key, g.Scope, g.Params) }

// tally counts who has approved g, for a minting by who. It is a refusal where g
// waits for people, or waited in vain.
func (b *Broker) tally(ctx context.Context, who Caller, g store.Grant) (t approval.Tally, err error) {
	if g.Case == nil || b.cfg.Board == nil {
		return t, mintable(g, t)
	}
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		t, err = b.count(r, g, asking(who)...)
		return err
	})
	if err == nil {
		err = mintable(g, t)
	}
	return t, err
}

// mintable says why g cannot be minted from; nil where it can.
func mintable(g store.Grant, t approval.Tally) error {
	switch g.State {
	case store.GrantCleared, store.GrantActive:
		return nil
	case store.GrantPending:
		return &approval.NeededError{Needs: approval.Lacking(needsOf(g), t)}
	case store.GrantRejected:
		return ErrRejected
	case store.GrantLapsed:
		return ErrLapsed
	default:
		return ErrGrantEnded
	}
}

// refuseMinting puts the refusal of a minting on the record, for a token.
func (b *Broker) refuseMinting(ctx context.Context, who Caller, g store.Grant, refusal error) error {
	_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		if err := b.cfg.Guard.Throttle(t, who.Agent); err != nil {
			return err
		}
		_, err := t.Record(ledger.Record{
			Type: ledger.IssuanceRefused, Correlation: who.Correlation, Agent: g.Agent, Delegate: who.delegate(), Task: g.TaskID, Grant: g.ID,
			EnvelopeDigest: g.Digest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion, Reason: b.cfg.Reason(refusal),
		})
		return err
	})
	if err != nil {
		return err
	}
	return refusal
}

// count verifies the votes on g again. now is who asks now, beside who asked then.
// The votes of somebody who is frozen do not count.
func (b *Broker) count(r store.Reader, g store.Grant, now ...string) (approval.Tally, error) {
	kept, err := r.Approvals(g.ID)
	if err != nil {
		return approval.Tally{}, err
	}
	var votes []approval.Vote
	for _, k := range kept {
		frozen, err := b.frozenPerson(r, k.Person)
		if err != nil {
			return approval.Tally{}, err
		}
		if !frozen {
			votes = append(votes, voteOf(k))
		}
	}
	return b.cfg.Board.Count(caseOf(g), votes, now...), nil
}

func voteOf(k store.Approval) approval.Vote {
	return approval.Vote{
		Person: k.Person, Decision: evidence.Decision(k.Decision), Comment: k.Comment, Statement: []byte(k.Statement), Signature: k.Signature,
	}
}

// frozenPeople are those of whom frozenPerson is true.
func (b *Broker) frozenPeople(r store.Reader) (frozen []string, err error) {
	for _, name := range b.cfg.Board.People() {
		is, err := b.frozenPerson(r, name)
		if err != nil {
			return nil, err
		}
		if is {
			frozen = append(frozen, name)
		}
	}
	return frozen, nil
}

// stillApproved says whether people's yes to g stands: nil, or a NeededError. A
// grant that needs nobody's is as it was decided.
func (b *Broker) stillApproved(r store.Reader, g store.Grant, now ...string) error {
	if g.Case == nil || b.cfg.Board == nil {
		return nil
	}
	t, err := b.count(r, g, now...)
	if err != nil {
		return err
	}
	if lacks := approval.Lacking(needsOf(g), t); len(lacks) > 0 {
		return &approval.NeededError{Needs: lacks}
	}
	return nil
}

// frozenPerson says whether any of a person's IDs is frozen.
func (b *Broker) frozenPerson(r store.Reader, person string) (bool, error) {
	for _, id := range b.cfg.Board.IDs(person) {
		switch err := guard.Frozen(r, id); {
		case errors.Is(err, guard.ErrFrozen):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// asking is who calls now, which may be another delegate than the one that asked.
func asking(who Caller) []string {
	names := []string{who.id()}
	if d := who.delegate(); d != "" {
		names = append(names, d)
	}
	return names
}

func needsOf(g store.Grant) (out []policy.Need) {
	for _, n := range g.Needs {
		out = append(out, policy.Need{Group: n.Group, Approvals: n.Approvals})
	}
	return out
}

// caseOf is what people decide of g.
func caseOf(g store.Grant) approval.Case {
	return approval.Case{
		Grant: g.ID, Digest: g.Digest, Nonce: g.Case.Nonce, Tier: g.Tier, Needs: needsOf(g), Identity: g.Case.Identity, Claim: g.Case.Claim,
	}
}
