package broker

import (
	"context"
	"errors"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
)

// Pending is a request as an approver sees it.
type Pending struct {
	Grant store.Grant
	Task  store.Task
	// Broker is the name that a statement has to bear.
	Broker string
	// Person is the caller, as a statement has to name them.
	Person string
	// Barred are the people of the needed groups who may reject it and no more.
	Barred []string
	// Lacking is what is still needed.
	Lacking []policy.Need
	// Votes are those that came.
	Votes []store.Approval
}

// pendingPage bounds what one call looks at, as it bounds what it returns.
const pendingPage = 100

// PendingGrants lists what waits for people and concerns the caller, oldest first,
// from the one after an id on. next is where to go on; empty at the end.
func (b *Broker) PendingGrants(ctx context.Context, who Caller, after string) (out []Pending, next string, err error) {
	if b.cfg.Board == nil {
		return nil, "", nil
	}
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		waiting, err := r.Grants(store.GrantFilter{Pending: true, OldestFirst: true, After: after, Limit: pendingPage})
		if err != nil {
			return err
		}
		if len(waiting) == pendingPage {
			next = waiting[pendingPage-1].ID
		}
		for _, g := range waiting {
			if g.Case == nil || b.cfg.Board.Concerned(caseOf(g), who.id()) != nil {
				continue
			}
			p, err := b.pending(r, who, g)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	return out, next, err
}

// PendingGrant is one request that concerns the caller, whether it waits or was decided.
func (b *Broker) PendingGrant(ctx context.Context, who Caller, id string) (p Pending, err error) {
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		g, err := b.decidable(r, who, id)
		if err != nil {
			return err
		}
		p, err = b.pending(r, who, g)
		return err
	})
	return p, err
}

// decidable is a grant that people decide, the caller among them.
func (b *Broker) decidable(r store.Reader, who Caller, id string) (store.Grant, error) {
	g, err := r.Grant(id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && g.Case == nil, b.cfg.Board == nil:
		return store.Grant{}, ErrGrantNotFound
	case err != nil:
		return store.Grant{}, err
	}
	return g, b.cfg.Board.Concerned(caseOf(g), who.id())
}

func (b *Broker) pending(r store.Reader, who Caller, g store.Grant) (Pending, error) {
	p := Pending{Grant: g, Broker: b.cfg.Board.Broker(), Person: b.cfg.Board.Person(who.id()), Barred: b.cfg.Board.Barred(caseOf(g))}
	var err error
	if p.Task, err = r.Task(g.TaskID); err != nil && !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	if p.Votes, err = r.Approvals(g.ID); err != nil {
		return p, err
	}
	t, err := b.count(r, g)
	p.Lacking = approval.Lacking(needsOf(g), t)
	return p, err
}
