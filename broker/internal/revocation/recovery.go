package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
)

// staleIntent is well past what a call takes to mint and conclude. A slower
// one finds its intent closed, and delivers nothing.
const staleIntent = 2 * (mint.Timeout + ledger.Timeout)

// Recover closes what a crash left open. An open intent may have reached the
// upstream, so it is orphaned and revoked by the name that the intent recorded. One
// that cannot be read keeps nobody from starting: an operator has to be able to revoke.
func (s *Service) Recover(ctx context.Context, catalog string) error {
	var open []store.Issuance
	if _, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) (err error) {
		var keys map[string][]string
		if s.cfg.Directory != nil {
			keys = s.cfg.Directory.Keys()
		}
		if err := t.Change(grant.Started(catalog, keys)); err != nil {
			return err
		}
		open, err = t.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		return err
	}); err != nil {
		return err
	}
	err := s.apart(ctx, len(open), func(t *ledger.Tx, i int) error {
		return orphan(t, open[i], "the broker stopped before the outcome was on the record")
	}, nil)
	if errors.Is(err, store.ErrDamaged) {
		s.cfg.Log.ErrorContext(ctx, "closing what was left open; it is tried again", slog.String("error", err.Error()))
		return nil
	}
	return err
}

// orphan closes an open intent whose outcome nobody will write any more, and
// revokes what it may have left.
func orphan(t *ledger.Tx, iss store.Issuance, cause string) error {
	c, err := grant.Orphan(iss, cause, t.Now())
	if err != nil {
		return err
	}
	return t.Change(c)
}

// orphanStale closes intents whose outcome could not be written while the
// broker went on running: the store was down, or the call panicked.
func (s *Service) orphanStale(ctx context.Context) error {
	var stale []store.Issuance
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		for _, iss := range open {
			// One of a time to come was made before the clock was put back.
			if s.cfg.Now().Sub(iss.At).Abs() > staleIntent {
				stale = append(stale, iss)
			}
		}
		return err
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	return s.apart(ctx, len(stale), func(t *ledger.Tx, i int) error {
		now, err := t.Issuance(stale[i].GrantID, stale[i].ID)
		if err != nil || now.State != store.IssuanceIntended {
			return err // or its call was only slow
		}
		return orphan(t, now, "the outcome was never on the record")
	}, nil)
}

// undelivered are the issuances whose credential was minted and not delivered,
// since the outcome could not be written or proven. Which of the two it was, the
// call cannot know: what it takes for a failed write can be durable all the same,
// and then the record says issued. A stop forgets them; those then end with their
// grants.
type undelivered struct {
	mu   sync.Mutex
	list []store.Issuance // guarded by mu
}

func (u *undelivered) add(iss store.Issuance) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, iss)
}

func (u *undelivered) drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = slices.DeleteFunc(u.list, func(one store.Issuance) bool { return one.ID == id })
}

func (u *undelivered) all() []store.Issuance {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.list)
}

// TakeBack has the credential of an issuance revoked that was minted and could not be
// delivered, once the store says what became of it.
func (s *Service) TakeBack(iss store.Issuance) { s.undelivered.add(iss) }

// takeBack revokes what is on the record as issued and was not delivered. What is
// still an open intent stays on the list: a write that was given up can come late.
func (s *Service) takeBack(ctx context.Context) error {
	var errs []error
	for _, lost := range s.undelivered.all() {
		taken, closed := false, false
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
			iss, err := t.Issuance(lost.GrantID, lost.ID)
			if err != nil {
				return err
			}
			closed = iss.State != store.IssuanceIntended
			if iss.State != store.IssuanceIssued {
				return nil // it is in the work table already, or will be
			}
			g, err := t.Grant(iss.GrantID)
			if err != nil || !g.State.Live() {
				return err // its grant's end revokes it
			}
			taken = true
			return orphan(t, iss, "it was minted, and the outcome could not be proven, so it was not delivered")
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("revoking %s, which was not delivered: %w", lost.ID, err))
			continue
		}
		if closed {
			s.undelivered.drop(lost.ID)
		}
		if taken {
			s.cfg.Log.WarnContext(ctx, "a credential that was not delivered is revoked", slog.String("issuance_id", lost.ID))
			s.Wake()
		}
	}
	return errors.Join(errs...)
}
