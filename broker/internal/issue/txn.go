package issue

import (
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// txn is one call's way through steps 4 to 6, in one transaction.
type txn struct {
	tx  *ledger.Tx
	who grant.Caller
	// draft is the call's decision.
	draft grant.Draft
	// tally is of the approvals that the decision rests on; zero for none.
	tally quorum.Tally
	key   repeats.Key

	grant  store.Grant
	intent ledger.Intent
	// refusal is on the record, so the transaction that holds it succeeds.
	refusal error
}

// request records a decided request, and with mint the intent to mint from it.
func (s *Service) request(p *txn, mint bool) error {
	repeat, err := p.key.Used(p.tx)
	if err != nil {
		return err
	}
	if repeat != "" {
		p.grant, p.refusal, err = firstAnswer(p.tx, repeat, mint)
		return err
	}
	g := p.draft.Grant(p.tx.Now())
	clearance, refusal, err := s.pass(p, g.TaskID)
	if err != nil {
		return err
	}
	c, known, err := s.answer(p, g, clearance, refusal)
	if err != nil {
		return err
	}
	if known.ID != "" {
		p.grant = known
		return p.key.Remember(p.tx, known.ID)
	}
	p.grant = c.Grant()
	if err := p.tx.Change(c); err != nil {
		return err
	}
	if p.grant.State != store.GrantCleared || !mint {
		return p.key.Remember(p.tx, p.grant.ID)
	}
	return s.intend(p, clearance)
}

// answer clears a new grant, has it wait for people, or denies it.
func (s *Service) answer(p *txn, g store.Grant, clearance quorum.Clearance, refusal error) (c grant.Change, known store.Grant, err error) {
	if refusal == nil {
		c, err = p.draft.Clear(g, clearance)
		return c, known, err
	}
	var needed *quorum.NeededError
	if errors.As(refusal, &needed) && s.cfg.Directory != nil {
		asked := p.draft.Asked(g, needed.Needs, s.cfg.Directory.Wait(), s.cfg.Guard.Subject(p.who.Agent()))
		if known, refusal, err = s.mayWait(p.tx, asked); err != nil || known.ID != "" {
			return c, known, err
		}
		if refusal == nil {
			c, err = p.draft.Pend(asked)
			return c, known, err
		}
	}
	p.refusal = refusal
	c, err = p.draft.Deny(g, refusal, reasons.Name(refusal))
	return c, known, err
}

// mintAgain passes a live grant through the guard again and intends a minting.
func (s *Service) mintAgain(p *txn, grantID string) error {
	switch repeat, err := p.key.Used(p.tx); {
	case err != nil:
		return err
	case repeat != "":
		return grant.ErrAlreadyIssued
	}
	g, err := p.tx.Grant(grantID)
	if err != nil {
		return err
	}
	if !g.State.Live() || !p.tx.Now().Before(g.ExpiresAt) {
		return grant.ErrGrantEnded
	}
	p.grant = g
	clearance, refusal, err := s.pass(p, g.TaskID)
	if err != nil {
		return err
	}
	if refusal == nil {
		refusal = s.cfg.Directory.StillApproved(p.tx, g, asking(p.who)...) // somebody may have been frozen since they were counted
	}
	if refusal == nil && clearance.Digest() != g.Digest {
		refusal = fmt.Errorf("%w: what policy allows has changed since the grant was asked for", quorum.ErrDenied)
	}
	if refusal != nil {
		if !grant.IsRefusal(refusal) {
			return refusal
		}
		p.refusal = refusal
		return p.tx.Change(p.draft.RefuseMinting(g, reasons.Name(refusal)))
	}
	return s.intend(p, clearance)
}
