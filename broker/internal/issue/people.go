package issue

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// mayWait says whether g may wait for people. Where it may not, that is a refusal, which
// is on the record and has cost the agent a token. known is a grant that waits already
// for the same: people are not asked twice.
func (s *Service) mayWait(t *ledger.Tx, g store.Grant) (known store.Grant, refusal, err error) {
	frozen, err := s.cfg.Directory.FrozenPeople(t)
	if err != nil {
		return known, nil, err
	}
	if err := s.cfg.Directory.Reachable(quorum.CaseOf(g), frozen); err != nil {
		s.cfg.Log.Warn("nobody is asked: fewer people are listed than could approve it", slog.String("grant", g.ID), slog.String("scope", g.Scope))
		return known, err, nil
	}
	mine, err := t.Grants(store.GrantFilter{Subject: g.Case.Subject, Pending: true, Limit: -1})
	if err != nil {
		return known, nil, err
	}
	for _, w := range mine { // as many as may wait, at most
		if w.Digest == g.Digest && t.Now().Before(w.ExpiresAt) {
			return w, nil, nil
		}
	}
	until, err := t.Cooling(grant.CoolingKey(g))
	if err != nil {
		return known, nil, err
	}
	// One that ends later than any does was made while the clock was ahead.
	if left := until.Sub(t.Now()); left > 0 && left <= s.cfg.Directory.CoolDown() {
		return known, grant.ErrRejected, nil
	}
	n, err := t.Waiting(g.Case.Subject, g.Delegate)
	if err != nil {
		return known, nil, err
	}
	if most := s.cfg.Directory.MaxPending(); n.Key >= most || n.Delegate >= most*quorum.PerDelegate || n.All >= quorum.MaxWaiting {
		return known, grant.ErrTooManyPending, nil
	}
	return known, nil, nil
}

// tally counts who has approved g, for a minting by who. It is a refusal where g
// waits for people, or waited in vain.
func (s *Service) tally(ctx context.Context, who grant.Caller, g store.Grant) (t quorum.Tally, err error) {
	err = s.cfg.Store.View(ctx, func(r store.Reader) error {
		if t, err = s.cfg.Directory.Tally(r, g, asking(who)...); err != nil {
			return err
		}
		err = grant.Mintable(g, t)
		if errors.Is(err, grant.ErrGrantEnded) {
			// A freeze has ended it, and is what to tell while it lasts.
			err = cmp.Or(guard.FrozenAgent(r, who.Agent()), err)
		}
		return err
	})
	return t, err
}

// refuseMinting puts the refusal of a minting on the record, for a token.
func (s *Service) refuseMinting(ctx context.Context, who grant.Caller, g store.Grant, refusal error) error {
	_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		if err := s.cfg.Guard.Throttle(t, who.Agent()); err != nil {
			return err
		}
		return t.Change(grant.RefuseMinting(who, g, reasons.Name(refusal)))
	})
	if err != nil {
		return err
	}
	return refusal
}

// asking is who calls now, which may be another delegate than the one that asked.
func asking(who grant.Caller) []string {
	names := []string{who.ID()}
	if d := who.Delegate(); d != "" {
		names = append(names, d)
	}
	return names
}
