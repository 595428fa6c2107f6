package revocation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

const (
	// sweepBatch is how many grants one transaction of a sweep ends, and sweepAgents
	// how many agents it looks at, so that no other call waits for long.
	sweepBatch  = 256
	sweepAgents = 4096
	// sweepWait is how long a call waits for its sweep to be done.
	sweepWait = 10 * time.Second
)

// ErrNoOwners means that no path template says whose an agent is.
var ErrNoOwners = errors.New("agents have no owners here")

// Ended says how many grants an operator's call has ended.
type Ended struct {
	Grants int64
	// Unfinished says that there are more, which are being ended.
	Unfinished bool
}

// Orders are operators' orders to end many grants, or to let none begin. It is safe for
// concurrent use.
type Orders struct {
	cfg  Config
	ends *Service
}

// NewOrders returns Orders that are carried on by Run.
func NewOrders(ends *Service) *Orders { return &Orders{ends.cfg, ends} }

// RevokeGrants ends all open grants of p's agents or of those that a delegate at p
// spoke for, for an operator. key may be empty.
func (s *Orders) RevokeGrants(ctx context.Context, operator grant.Operator, key string, p store.Path, cause string) (Ended, error) {
	return s.order(ctx, operator, key, grant.Content("revoke grants", p, cause), grant.OrderEnds(p, cause))
}

// RevokeOwner ends all open grants of one person's agents, for an operator: of those
// whose path names the owner. key may be empty.
func (s *Orders) RevokeOwner(ctx context.Context, operator grant.Operator, key, owner, cause string) (Ended, error) {
	if s.cfg.Owner == nil {
		return Ended{}, cmp.Or(operator.Check(), ErrNoOwners)
	}
	return s.order(ctx, operator, key, grant.Content("revoke owner", owner, cause), grant.OrderOwner(owner, cause))
}

// SetFreeze stops or resumes all minting at or below a path, and ends what is live
// there: the open grants of agents, those that a delegate spoke for, and those that an
// approver cleared and not enough others did. key may be empty.
func (s *Orders) SetFreeze(ctx context.Context, operator grant.Operator, key string, f grant.Freeze) (Ended, error) {
	return s.order(ctx, operator, key, grant.Content("set freeze", f), grant.OrderFreeze(f, s.peopleUnder(f.Path)))
}

// order puts an operator's order on the record, and ends the first grants that it names
// in the same transaction. The rest follows, whatever becomes of the call.
func (s *Orders) order(ctx context.Context, operator grant.Operator, key, content string, o grant.Order) (Ended, error) {
	if err := operator.Check(); err != nil {
		return Ended{}, err
	}
	var w store.Sweep
	var touched []string
	used, atOnce, known := repeats.Key{Who: operator, Key: key, Content: content}, true, false
	commit := func(t *ledger.Tx, used repeats.Key) (err error) {
		w, touched = store.Sweep{}, nil
		known, err = used.Recall(t, &w.ID)
		switch {
		case err != nil || known && w.ID == "":
			return err
		case known:
			w, err = t.Sweep(w.ID)
			return err
		}
		var c grant.Change
		w, c = o.Give(operator, t.Now())
		if err := used.Keep(t, "", w.ID); err != nil {
			return err
		}
		if err := t.Change(c); err != nil || w.ID == "" || !atOnce {
			return err
		}
		touched, err = s.sweepSome(t, &w)
		return err
	}
	give := func() error {
		if o.Resumes() { // sent again late, it would undo a freeze that came since: it needs its key
			_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error { return commit(t, used) })
			return err
		}
		return s.ends.keyed(ctx, used, commit)
	}
	err := give()
	if errors.Is(err, store.ErrDamaged) {
		atOnce = false // a grant that cannot be ended must not keep the order, or its freeze, from being given
		err = give()
	}
	if errors.Is(err, store.ErrDamaged) && !known {
		return Ended{}, errors.Join(err, s.endUnkept(ctx, operator, o))
	}
	if err != nil || w.ID == "" {
		return Ended{}, err
	}
	s.cfg.Notify.Announce(touched...)
	s.ends.Wake()
	wait, cancel := context.WithTimeout(ctx, sweepWait)
	defer cancel()
	w, err = s.sweep(wait, w)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "ending the grants that an operator named; it goes on in the background", slog.String("error", err.Error()))
		<-wait.Done() // who asks again at once is told the same
	}
	return Ended{Grants: w.Ended, Unfinished: w.DoneAt.IsZero()}, nil
}

// Run carries on what calls have not waited for, or a stop has interrupted.
func (s *Orders) Run(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		var open []store.Sweep
		err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
			open, err = r.OpenSweeps()
			return err
		})
		for _, w := range open {
			_, serr := s.sweep(ctx, w)
			err = errors.Join(err, serr)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.ErrorContext(ctx, "ending the grants that an operator named; it is tried again", slog.String("error", err.Error()))
		}
		again.Reset(tick)
		if errors.Is(err, store.ErrDamaged) {
			again.Reset(apartEvery)
		}
	}
}

// sweep carries a sweep on until it is done, or until ctx is, which is an error. It
// returns how far it came.
func (s *Orders) sweep(ctx context.Context, w store.Sweep) (store.Sweep, error) {
	var last []string
	for w.DoneAt.IsZero() {
		var next store.Sweep
		var touched []string
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) (err error) {
			if next, err = t.Sweep(w.ID); err != nil || !next.DoneAt.IsZero() {
				return err
			}
			touched, err = s.sweepSome(t, &next)
			if err == nil && slices.ContainsFunc(touched, func(id string) bool { return slices.Contains(last, id) }) {
				err = fmt.Errorf("%w: a grant that has ended is found again", store.ErrDamaged) // and would be for ever
			}
			return err
		})
		if errors.Is(err, store.ErrDamaged) {
			w, err = s.sweepApart(ctx, w)
			return w, fmt.Errorf("sweep %s: %w", w.ID, cmp.Or(err, store.ErrDamaged))
		}
		if err != nil {
			return w, fmt.Errorf("sweep %s: %w", w.ID, err)
		}
		w, last = next, touched
		s.cfg.Notify.Announce(touched...)
		s.ends.Wake()
	}
	return w, nil
}

// sweepSome ends as many grants as fit one transaction, and returns their ids. It closes
// the sweep, on the record, where nothing is left.
func (s *Orders) sweepSome(t *ledger.Tx, w *store.Sweep) ([]string, error) {
	next := s.nextUnder
	if w.Owner != "" {
		next = s.nextOfOwner
	}
	grants, more, err := next(t, w)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, g := range grants {
		if err := End(t, &g, grant.BySweep(*w)); err != nil {
			return nil, err
		}
		ids = append(ids, g.ID)
	}
	w.Ended += int64(len(ids))
	if more {
		return ids, t.Progress(*w)
	}
	done, c := grant.Swept(*w, t.Now())
	*w = done
	err = t.Change(c)
	return ids, err
}

// nextUnder are the next grants of a path, and then those that rested on its people.
func (s *Orders) nextUnder(t *ledger.Tx, w *store.Sweep) (out []store.Grant, more bool, err error) {
	out, err = t.OpenUnder(w.Path, sweepBatch)
	if err != nil || len(out) > 0 {
		return out, true, err
	}
	for len(w.People) > 0 {
		judged, err := t.JudgedBy(w.People[0], w.After, sweepBatch)
		if err != nil {
			return nil, false, err
		}
		for _, g := range judged {
			w.After = g.ID
			switch err := s.cfg.Directory.StillApproved(t, g); {
			case errors.Is(err, quorum.ErrNeeded):
				out = append(out, g)
			case err != nil:
				return nil, false, err
			}
		}
		if len(judged) == sweepBatch {
			return out, true, nil
		}
		w.People, w.After = w.People[1:], ""
		if len(out) > 0 {
			return out, true, nil
		}
	}
	return nil, false, nil
}

// nextOfOwner are the next grants of an owner's agents.
func (s *Orders) nextOfOwner(t *ledger.Tx, w *store.Sweep) (out []store.Grant, more bool, err error) {
	if s.cfg.Owner == nil { // the config has changed since it was ordered
		return nil, false, ErrNoOwners
	}
	agents, err := t.OpenAgents(w.After, sweepAgents)
	if err != nil {
		return nil, false, err
	}
	for _, agent := range agents {
		if s.cfg.Owner(agent) != w.Owner {
			w.After = agent
			continue
		}
		if out, err = t.OpenUnder(store.Path{ID: agent}, sweepBatch); err != nil {
			return nil, false, err
		}
		return out, true, nil
	}
	return nil, len(agents) == sweepAgents, nil
}

// peopleUnder are the approvers one of whose IDs lies at or below path.
func (s *Orders) peopleUnder(path string) (names []string) {
	if s.cfg.Directory == nil {
		return nil
	}
	for _, name := range s.cfg.Directory.People() {
		for _, id := range s.cfg.Directory.IDs(name) {
			if lies(id, path) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// lies says whether a SPIFFE ID is path, or lies below it.
func lies(id, path string) bool {
	return id == path || len(id) > len(path) && id[:len(path)] == path && id[len(path)] == '/'
}
