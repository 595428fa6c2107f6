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
	// Lacking is what is still needed.
	Lacking []policy.Need
	// Votes are those that came.
	Votes []store.Approval
}

// PendingGrants lists what waits for people and the caller may decide, oldest
// first.
func (b *Broker) PendingGrants(ctx context.Context, who Caller) (out []Pending, err error) {
	if b.cfg.Board == nil {
		return nil, nil
	}
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		waiting, err := r.Grants(store.GrantFilter{Pending: true, Limit: -1})
		if err != nil {
			return err
		}
		for _, g := range waiting {
			if b.cfg.Board.Eligible(caseOf(g), who.id()) != nil {
				continue
			}
			p, err := b.pending(r, who, g)
			if err != nil {
				return err
			}
			out = append([]Pending{p}, out...)
		}
		return nil
	})
	return out, err
}

// PendingGrant is one request that the caller may decide, or has decided.
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

// decidable is a grant that the caller may decide: to everybody else there is
// none.
func (b *Broker) decidable(r store.Reader, who Caller, id string) (store.Grant, error) {
	g, err := r.Grant(id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && g.Case == nil, b.cfg.Board == nil:
		return store.Grant{}, ErrGrantNotFound
	case err != nil:
		return store.Grant{}, err
	}
	return g, b.cfg.Board.Eligible(caseOf(g), who.id())
}

func (b *Broker) pending(r store.Reader, who Caller, g store.Grant) (Pending, error) {
	p := Pending{Grant: g, Broker: b.cfg.Board.Broker(), Person: b.cfg.Board.Person(who.id())}
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
