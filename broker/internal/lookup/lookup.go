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

// Grant returns a grant of whatever agent, for an operator.
func (d *Desk) Grant(ctx context.Context, operator grant.Operator, id string) (store.Grant, error) {
	return grant.Any(ctx, d.store, operator, id)
}

// Grants lists grants of whatever agent for an operator, newest first.
func (d *Desk) Grants(ctx context.Context, operator grant.Operator, f store.GrantFilter) (gs []store.Grant, err error) {
	if err := operator.Check(); err != nil {
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
			} // what is damaged is shown as its row has it: an operator has to see the others
		}
		return err
	})
	return gs, err
}

// Ledger is the record, for an operator to read.
func (d *Desk) Ledger(operator grant.Operator) (*ledger.Ledger, error) {
	if err := operator.Check(); err != nil {
		return nil, err
	}
	return d.ledger, nil
}

// ProveGrowth proves to an agent that the record has only grown from one size to another.
func (d *Desk) ProveGrowth(ctx context.Context, who grant.Caller, oldSize, newSize int64) ([]tlog.Hash, error) {
	if err := who.Check(); err != nil {
		return nil, err
	}
	return d.ledger.ProveGrowth(ctx, oldSize, newSize)
}
