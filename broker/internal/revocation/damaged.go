package revocation

import (
	"context"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// apart does n ends in one transaction, and where that meets damage each in one of its own: what
// cannot be read stops nobody else's end. damaged is called with each that could not be done; nil
// for nothing. The error names them.
func (s *Service) apart(ctx context.Context, n int, do func(t *ledger.Tx, i int) error, damaged func(i int) error) error {
	_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		for i := range n {
			if err := do(t, i); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, store.ErrDamaged) {
		return err
	}
	var errs []error
	for i := range n {
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error { return do(t, i) })
		errs = append(errs, err)
		switch {
		case err != nil && !errors.Is(err, store.ErrDamaged):
			return errors.Join(errs...) // nothing else goes either
		case err != nil && damaged != nil:
			errs = append(errs, damaged(i))
		}
	}
	return errors.Join(errs...)
}

// credentials has the credentials of a grant revoked that cannot be ended: something that its end
// takes is damaged. One by one: what cannot be read of one keeps no other. Those of a grant that
// has ended are none of its. One that is being minted is among them: its grant, which stays live,
// would not keep it from being delivered.
func (s *Service) credentials(ctx context.Context, id string, e grant.End) error {
	var issued []string
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		issued, err = r.IssuanceIDs(id)
		return err
	})
	if err != nil || len(issued) == 0 {
		return err
	}
	defer s.Wake()
	return s.apart(ctx, len(issued), func(t *ledger.Tx, i int) error {
		iss, err := t.Issuance(id, issued[i])
		switch {
		case errors.Is(err, store.ErrDamaged):
			w, err := t.Work(id, issued[i])
			if err != nil || !w.Held {
				return err
			}
			return t.Change(e.Held(w, t.Now()))
		case err != nil || iss.State != store.IssuanceIssued && iss.State != store.IssuanceIntended:
			return err
		}
		w, err := t.Work(id, issued[i])
		if err == nil && !w.Held {
			return nil // its grant has ended in the meantime
		}
		if err != nil && !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		c, err := e.Credential(iss, t.Now())
		if err != nil {
			return err
		}
		return t.Change(c)
	}, nil)
}

// Salvaged is err, once the credentials of a grant that it kept from being ended are revoked.
func (s *Service) Salvaged(ctx context.Context, err error, id string, e grant.End) error {
	if !errors.Is(err, store.ErrDamaged) {
		return err
	}
	return errors.Join(err, s.credentials(ctx, id, e))
}

// endTaskApart ends the grants of a task that cannot be closed, one by one. The task stays open:
// not all of its grants have ended.
func (s *Service) endTaskApart(ctx context.Context, id string, e grant.End) error {
	var open []string
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		open, err = r.OpenIDs()
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, at := range open {
		ended, named := false, false
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
			g, err := t.Grant(at)
			if named = err == nil && g.TaskID == id; !named || !g.State.Open() {
				return err
			}
			ended = true
			return End(t, &g, e)
		})
		switch {
		case err != nil && !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound):
			return errors.Join(append(errs, err)...)
		case err != nil && named:
			errs = append(errs, s.Salvaged(ctx, err, at, e))
		case err == nil && ended:
			s.cfg.Notify.Announce(at)
			s.Wake()
		}
	}
	return errors.Join(errs...)
}

// keyed runs fn in a transaction, and again without the call's key where what that was used for
// is damaged: what ends something is idempotent by nature, and waits for no key.
func (s *Service) keyed(ctx context.Context, key repeats.Key, fn func(t *ledger.Tx, key repeats.Key) error) error {
	_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error { return fn(t, key) })
	if !errors.Is(err, repeats.ErrUnreadable) {
		return err
	}
	key.Key = ""
	_, again := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error { return fn(t, key) })
	if again != nil {
		return fmt.Errorf("%w, and before that %w", again, err)
	}
	return nil
}
