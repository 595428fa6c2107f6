// Package lookup is what callers may read of grants and of the record.
package lookup

import (
	"context"
	"errors"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// Desk answers who may ask. It is safe for concurrent use.
type Desk struct {
	store  grant.Viewer
	ledger *ledger.Ledger
}

// New returns a Desk.
func New(store grant.Viewer, l *ledger.Ledger) *Desk { return &Desk{store, l} }

// OwnGrant returns the agent's own grant.
func (d *Desk) OwnGrant(ctx context.Context, who grant.Caller, id string) (store.Grant, error) {
	return grant.Own(ctx, d.store, who, id)
}

// OwnGrants lists the agent's own grants that have not ended, newest first: what has ended is
// found by its id, as an index of it would be written for every grant.
func (d *Desk) OwnGrants(ctx context.Context, who grant.Caller, task string, page Page) ([]store.Grant, error) {
	return d.list(ctx, who, store.GrantFilter{Agent: who.ID(), TaskID: task, Open: true, Before: page.Before, Limit: page.Limit})
}

// OwnTask returns the agent's own task.
func (d *Desk) OwnTask(ctx context.Context, who grant.Caller, id string) (store.Task, error) {
	return grant.OwnTask(ctx, d.store, who, id)
}

// Grant returns a grant of whatever agent, for an operator.
func (d *Desk) Grant(ctx context.Context, operator grant.Operator, id string) (store.Grant, error) {
	return grant.Any(ctx, d.store, operator, id)
}

// Grants lists grants for an operator, newest first: of one agent, or of all where agent is empty.
func (d *Desk) Grants(ctx context.Context, operator grant.Operator, agent string, open bool, page Page) ([]store.Grant, error) {
	return d.list(ctx, operator, store.GrantFilter{Agent: agent, Open: open, Before: page.Before, Limit: page.Limit})
}

// Page says which part of a list is asked for: what comes after the grant Before, at most Limit.
type Page struct {
	Before string
	Limit  int
}

func (d *Desk) list(ctx context.Context, who grant.Someone, f store.GrantFilter) (gs []store.Grant, err error) {
	if err := who.Check(); err != nil {
		return nil, err
	}
	err = d.store.View(ctx, func(r store.Reader) error {
		gs, err = r.Grants(f)
		for i := range gs {
			switch g, err := grant.Minted(r, gs[i]); {
			case err == nil:
				gs[i] = g
			case !errors.Is(err, store.ErrDamaged):
				return err
			} // what is damaged is shown as its row has it: one has to see the others
		}
		return err
	})
	return gs, err
}

// Checkpoint is the record's newest signed head, for anybody who is known here.
func (d *Desk) Checkpoint(ctx context.Context, who grant.Someone) ([]byte, error) {
	if err := who.Check(); err != nil {
		return nil, err
	}
	h, err := d.ledger.Head(ctx)
	return h.Checkpoint, err
}

// Growth proves to anybody who is known here that the record has only grown from one size to another; see
// ledger.ProveGrowth.
func (d *Desk) Growth(ctx context.Context, who grant.Someone, oldSize, newSize int64) (tlog.TreeProof, []byte, error) {
	if err := who.Check(); err != nil {
		return nil, nil, err
	}
	return d.ledger.ProveGrowth(ctx, oldSize, newSize)
}

// Record is one record with its proof, for an operator.
func (d *Desk) Record(ctx context.Context, operator grant.Operator, index int64) (ledger.Receipt, error) {
	if err := operator.Check(); err != nil {
		return ledger.Receipt{}, err
	}
	return d.ledger.Prove(ctx, index)
}
