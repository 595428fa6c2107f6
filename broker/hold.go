package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
)

var (
	// ErrRejected means that people said no to this grant.
	ErrRejected = fmt.Errorf("rejected by an approver: %w", approval.ErrDenied)
	// ErrLapsed means that people did not say enough in time.
	ErrLapsed = fmt.Errorf("not approved in time: %w", ErrGrantEnded)
	// ErrSettled means that a grant waits for nobody any more.
	ErrSettled = errors.New("not waiting for approval")
	// ErrTooManyPending means that as many requests of the agent's wait for people
	// as may.
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
		Chain: approval.ChainOf(d), Key: b.cfg.Guard.Key(p.who.Agent),
	}
	p.need(needed.Needs)
	if err := b.cfg.Board.Reachable(caseOf(*g)); err != nil {
		g.Case = nil
		return "", err, nil
	}
	waiting, err := p.tx.Grants(store.GrantFilter{Pending: true, Limit: -1})
	if err != nil {
		return "", nil, err
	}
	mine := 0
	for _, w := range waiting {
		if w.Digest == g.Digest && w.Agent == g.Agent && p.tx.Now().Before(w.ExpiresAt) {
			p.grant = w
			return w.ID, nil, nil
		}
		if w.Case.Key == g.Case.Key {
			mine++
		}
	}
	if mine >= b.cfg.Board.Pending() {
		return "", nil, ErrTooManyPending
	}
	g.State, g.ExpiresAt = store.GrantPending, g.RequestedAt.Add(b.cfg.Board.Wait())
	p.record.Type, p.record.Envelope, p.record.NotAfter = ledger.GrantPending, envelope, &g.ExpiresAt
	return "", nil, nil
}

// tally counts who has approved g, for a minting by who. It is an error where g
// cannot be minted from.
func (b *Broker) tally(ctx context.Context, who Caller, g store.Grant) (t approval.Tally, err error) {
	if g.Case != nil && b.cfg.Board != nil {
		err = b.cfg.Store.View(ctx, func(r store.Reader) error {
			t, err = b.count(r, g, chainOf(who)...)
			return err
		})
		if err != nil {
			return approval.Tally{}, err
		}
	}
	switch g.State {
	case store.GrantCleared, store.GrantActive:
		return t, nil
	case store.GrantPending:
		return approval.Tally{}, &approval.NeededError{Needs: approval.Lacking(needsOf(g), t)}
	case store.GrantRejected:
		return approval.Tally{}, ErrRejected
	case store.GrantLapsed:
		return approval.Tally{}, ErrLapsed
	default:
		return approval.Tally{}, ErrGrantEnded
	}
}

// count verifies the votes on g again.
func (b *Broker) count(r store.Reader, g store.Grant, chain ...string) (approval.Tally, error) {
	kept, err := r.Approvals(g.ID)
	if err != nil {
		return approval.Tally{}, err
	}
	votes := make([]approval.Vote, len(kept))
	for i, k := range kept {
		votes[i] = approval.Vote{Person: k.Person, Statement: []byte(k.Statement), Signature: k.Signature}
	}
	return b.cfg.Board.Count(caseOf(g), votes, chain), nil
}

// chainOf is who calls now, which may be another delegate than the one that asked.
func chainOf(who Caller) []string {
	chain := []string{who.id()}
	if d := who.delegate(); d != "" {
		chain = append(chain, d)
	}
	return chain
}

func needsOf(g store.Grant) (out []policy.Need) {
	for _, n := range g.Needs {
		out = append(out, policy.Need{Group: n.Group, Approvals: n.Approvals})
	}
	return out
}

// caseOf is what people decide of g.
func caseOf(g store.Grant) approval.Case {
	return approval.Case{Grant: g.ID, Digest: g.Digest, Nonce: g.Case.Nonce, Tier: g.Tier, Needs: needsOf(g), Chain: g.Case.Chain}
}
