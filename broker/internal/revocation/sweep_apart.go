package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// apartEvery is how often a sweep that meets damage goes over all that is open.
const apartEvery = 15 * time.Second

// sweepApart ends what a sweep names one grant a transaction, going over all that are open, and
// passes over what is damaged. The sweep stays open: what it could not end, it has not ended.
func (s *Orders) sweepApart(ctx context.Context, w store.Sweep) (store.Sweep, error) {
	return s.endApart(ctx, w, true)
}

// endUnkept ends once what an order names that cannot be kept itself: where sweeps or freezes are, the store is
// damaged. Each end is on the record; the order is not given.
func (s *Orders) endUnkept(ctx context.Context, operator grant.Operator, o grant.Order) error {
	w, _ := o.Give(operator, s.cfg.Now())
	if w.ID == "" {
		return nil
	}
	_, err := s.endApart(ctx, w, false)
	return err
}

// endApart does one round of sweepApart. kept says that the sweep has a row.
func (s *Orders) endApart(ctx context.Context, w store.Sweep, kept bool) (store.Sweep, error) {
	var faults []error
	var open []string
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		open, err = r.OpenIDs()
		return err
	})
	if err != nil {
		return w, err
	}
	for _, id := range open {
		named, ended := false, false
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) (err error) {
			named, ended, err = s.sweepOne(t, &w, kept, id)
			return err
		})
		if named {
			err = s.ends.Salvaged(ctx, err, id, grant.BySweep(w))
		}
		switch {
		case errors.Is(err, store.ErrDamaged):
			faults = append(faults, fmt.Errorf("grant %s: %w", id, err))
		case err != nil:
			return w, err
		case ended:
			s.cfg.Notify.Announce(id)
			s.ends.Wake()
		}
	}
	return w, errors.Join(errors.Join(faults...), s.unreadable(ctx, w))
}

// unreadable has the credentials of the sweep's agents revoked whose grants cannot be read: whose they are, their
// work says. Who spoke for those agents it does not.
func (s *Orders) unreadable(ctx context.Context, w store.Sweep) error {
	lost := map[string]bool{} // grants
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		held, err := r.HeldWork()
		for _, one := range held {
			if !s.names(w, one.Agent) {
				continue
			}
			switch _, err := r.Grant(one.GrantID); {
			case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrNotFound):
				lost[one.GrantID] = true
			case err != nil:
				return err
			}
		}
		return err
	})
	errs := []error{err}
	for id := range lost {
		errs = append(errs, s.ends.credentials(ctx, id, grant.BySweep(w)))
	}
	return errors.Join(errs...)
}

// sweepOne ends one grant, if the sweep names it.
func (s *Orders) sweepOne(t *ledger.Tx, w *store.Sweep, kept bool, id string) (named, ended bool, err error) {
	now := *w
	if kept {
		if now, err = t.Sweep(w.ID); err != nil || !now.DoneAt.IsZero() {
			return false, false, err
		}
	}
	g, err := t.Grant(id)
	if errors.Is(err, store.ErrNotFound) {
		return false, false, nil // it has ended, and was pruned, since it was found
	}
	if err != nil || !g.State.Open() {
		return false, false, err
	}
	if named, err = s.sweeps(t, now, g); err != nil || !named {
		return false, false, err
	}
	if err := End(t, &g, grant.BySweep(now)); err != nil {
		return true, false, err
	}
	now.Ended++
	if kept {
		if err := t.Progress(now); err != nil {
			return true, false, err
		}
	}
	*w = now
	return true, true, nil
}

// sweeps says whether a sweep is to end a grant.
func (s *Orders) sweeps(t *ledger.Tx, w store.Sweep, g store.Grant) (bool, error) {
	if s.names(w, g.Agent) || w.Owner == "" && s.names(w, g.Delegate) {
		return true, nil
	}
	if w.Owner != "" || len(w.People) == 0 || g.State == store.GrantPending {
		return false, nil
	}
	err := s.cfg.Directory.StillApproved(t, g)
	if errors.Is(err, quorum.ErrNeeded) {
		return true, nil
	}
	return false, err
}

// names says whether a sweep is of an agent, or of who spoke for one where it is of a path.
func (s *Orders) names(w store.Sweep, id string) bool {
	if w.Owner != "" {
		return s.cfg.Owner != nil && s.cfg.Owner(id) == w.Owner
	}
	return id != "" && (id == w.Path.ID || w.Path.Below && lies(id, w.Path.ID))
}
