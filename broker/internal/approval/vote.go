package approval

import (
	"cmp"
	"context"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// Vote takes an approver's signed decision. A yes clears the request where it is
// the last that was needed; a no ends it, also after it was cleared, with what was
// minted from it. The vote is on the record, whole, with what comes of it. Sent
// again it is one vote; a no after a yes is a no.
func (s *Service) Vote(ctx context.Context, who grant.Approver, id string, statement []byte, signature string) (p Pending, err error) {
	if err := who.Check(); err != nil {
		return Pending{}, err
	}
	v, err := s.judge(ctx, who, id, statement, signature)
	if err != nil {
		return p, err
	}
	rejects := false
	_, err = s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		rejects = false
		if frozen, err := s.cfg.Directory.Frozen(t, v.Person); err != nil || frozen {
			return cmp.Or(err, grant.ErrFrozenApprover)
		}
		rejects = v.Rejects() // whatever damage is met from here on
		if err := s.cfg.Guard.Throttle(t, who.Agent()); err != nil {
			return err
		}
		g, err := s.decidable(t.Reader, who, id)
		if err != nil {
			return err
		}
		again, err := s.voted(t, g, v)
		switch {
		case err != nil:
			return err
		case again:
			// Their votes may have come to count since: somebody was frozen for a while.
			if wanted(g, v, t.Now()) {
				err = s.clearWhereEnough(t, who, &g)
			}
		case !wanted(g, v, t.Now()):
			return grant.ErrSettled
		default:
			err = s.take(t, who, &g, v)
		}
		if err != nil {
			return err
		}
		p, err = s.pending(t.Reader, who, g)
		return err
	})
	if err == nil {
		s.cfg.Notify.Announce(id)
		s.cfg.Revocation.Wake()
	}
	if rejects {
		err = s.cfg.Revocation.Salvaged(ctx, err, id, grant.ByApprover(who, v.Person, nil))
	}
	return p, err
}

// judge verifies a vote before anybody waits for its transaction. What it is about
// never changes.
func (s *Service) judge(ctx context.Context, who grant.Approver, id string, statement []byte, signature string) (v quorum.Vote, err error) {
	err = s.cfg.Store.View(ctx, func(r store.Reader) error {
		g, err := s.decidable(r, who, id)
		if err != nil {
			return err
		}
		v, err = s.cfg.Directory.Judge(quorum.CaseOf(g), who.ID(), statement, signature, s.cfg.Now())
		return err
	})
	return v, err
}

// wanted says whether a vote still changes something.
func wanted(g store.Grant, v quorum.Vote, now time.Time) bool {
	if v.Rejects() {
		return g.State.Open()
	}
	// One of a time to come was asked for before the clock was put back, and would
	// wait for longer than it may.
	return g.State == store.GrantPending && now.Before(g.ExpiresAt) && now.Add(quorum.ClockLeeway).After(g.RequestedAt)
}

// voted says whether the same person has said the same before, in a way that
// counts still.
func (s *Service) voted(t *ledger.Tx, g store.Grant, v quorum.Vote) (bool, error) {
	kept, err := t.Approvals(g.ID)
	for _, k := range kept {
		if k.Person == v.Person && k.Decision == string(v.Decision) && s.cfg.Directory.Stands(quorum.CaseOf(g), quorum.VoteOf(k)) {
			return true, nil
		}
	}
	return false, err
}

// take keeps a vote and does what follows of it.
func (s *Service) take(t *ledger.Tx, who grant.Approver, g *store.Grant, v quorum.Vote) error {
	if err := t.Change(grant.Voted(who, *g, v, t.Now())); err != nil {
		return err
	}
	if v.Rejects() {
		return s.reject(t, who, g, v)
	}
	return s.clearWhereEnough(t, who, g)
}

// clearWhereEnough clears a pending grant once nobody's yes is lacking.
func (s *Service) clearWhereEnough(t *ledger.Tx, who grant.Approver, g *store.Grant) error {
	if g.State != store.GrantPending {
		return nil
	}
	tally, err := s.cfg.Directory.Tally(t, *g)
	if err != nil || len(quorum.Lacking(g.Needs, tally)) > 0 {
		return err
	}
	c, err := grant.ClearByVotes(who, *g, tally, t.Now())
	if err != nil {
		return err
	}
	*g = c.Grant()
	return t.Change(c)
}

// reject ends a grant, and has the same not asked for again for a while.
func (s *Service) reject(t *ledger.Tx, who grant.Approver, g *store.Grant, v quorum.Vote) error {
	var cooling *store.Cooling
	if d := s.cfg.Directory.CoolDown(); d > 0 {
		cooling = &store.Cooling{Key: grant.CoolingKey(*g), Until: t.Now().Add(d)}
	}
	e := grant.ByApprover(who, v.Person, cooling)
	if err := revocation.End(t, g, e); err != nil {
		return err
	}
	// The same may have been asked for in other tasks before: to have several of a
	// kind waiting must not be a way around a no.
	waiting, err := t.Grants(store.GrantFilter{Subject: g.Case.Subject, Pending: true, Limit: -1})
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if grant.CoolingKey(w) != grant.CoolingKey(*g) {
			continue
		}
		if err := revocation.End(t, &w, e.As(g.ID)); err != nil {
			return err
		}
	}
	return nil
}
