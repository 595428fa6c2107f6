package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/store"
)

// Change writes c's record, stamped with the transaction's time, and its rows. Only package
// grant makes a Change, and there is no other way to change a task, a grant, an issuance, an
// approval, a freeze, or what is to be revoked.
func (t *Tx) Change(c grant.Change) error {
	_, err := t.change(c)
	return err
}

// change is Change. It returns the record's index.
func (t *Tx) change(c grant.Change) (int64, error) {
	if err := c.Check(); err != nil {
		return 0, err
	}
	record, rows := c.Record(), c.Rows()
	record.V, record.Time = 1, t.now
	leaf, err := record.Leaf()
	if err != nil {
		return 0, err
	}
	t.leaf = leaf
	index, err := t.rows.Append(leaf)
	if err != nil {
		return 0, err
	}
	var errs []error
	if rows.Task != nil {
		errs = append(errs, t.rows.PutTask(*rows.Task))
	}
	if rows.Grant != nil {
		errs = append(errs, t.rows.PutGrant(*rows.Grant))
	}
	if rows.Approval != nil {
		errs = append(errs, t.rows.PutApproval(*rows.Approval))
	}
	if f := rows.Freeze; f != nil {
		errs = append(errs, t.rows.SetFrozen(f.Agent, f.Cause, f.Frozen))
	}
	if rows.Issuance != nil {
		iss := *rows.Issuance
		iss.Index = index
		errs = append(errs, t.rows.PutIssuance(iss))
	}
	for _, w := range rows.Work {
		errs = append(errs, t.rows.PutWork(w))
	}
	if rows.Sweep != nil {
		errs = append(errs, t.rows.PutSweep(*rows.Sweep))
	}
	if rows.Cooling != nil {
		errs = append(errs, t.rows.PutCooling(rows.Cooling.Key, rows.Cooling.Until))
	}
	return index, errors.Join(errs...)
}

// Retry puts a revocation that failed off to w.NextAt. It changes nobody's state, so
// that it leaves no record: the log has each failed try.
func (t *Tx) Retry(w store.Work) error { return t.rows.PutWork(w) }

// Progress keeps how far a sweep has come: what it has ended is on the record, grant
// by grant.
func (t *Tx) Progress(s store.Sweep) error { return t.rows.PutSweep(s) }

// Remember keeps what an idempotency key was used for.
func (t *Tx) Remember(i store.Idempotency) error { return t.rows.PutIdempotency(i) }

// PutBucket is store.Tx's: limits leave no record.
func (t *Tx) PutBucket(key string, full time.Time) error { return t.rows.PutBucket(key, full) }

// Prune is store.Tx's, in a transaction of its own. What goes is on the record.
func (l *Ledger) Prune(ctx context.Context, p store.Prune, from string, limit int) (next string, err error) {
	_, err = l.st.Update(ctx, func(t store.Tx) error {
		next, err = t.Prune(p, from, limit)
		return err
	})
	return next, err
}

// Probe writes a row of no meaning, to find out whether the store takes writes.
func (l *Ledger) Probe(ctx context.Context) error {
	_, err := l.st.Update(ctx, func(t store.Tx) error {
		return t.PutBucket("probe", l.now())
	})
	return err
}
