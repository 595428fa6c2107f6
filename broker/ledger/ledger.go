// Package ledger is steps 6 and 8 of 9: intent before effect, outcome before
// delivery, both on a Merkle log that is in the state's own transaction.
//
// Laws:
//   - An Intent exists only once its record is durable; a Receipt likewise.
//   - A change of state without a record is not possible through a Tx.
//   - The log is append-only. A checkpoint is signed with a key that is not in
//     the database, and a database that does not match its key is not opened.
//   - No secret is ever in a record.
//
// Hashing and proofs are golang.org/x/mod/sumdb/tlog's, signatures are note's.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/store"
)

var (
	// ErrNotDurable means that evidence was asked for before its transaction
	// was committed, or that it is a zero value.
	ErrNotDurable = errors.New("not on the record")
	// ErrNoRecord means that an index or size lies outside the log.
	ErrNoRecord = errors.New("no such record")
)

// Ledger commits state together with its record. It is safe for concurrent use.
type Ledger struct {
	st  store.Store
	now func() time.Time
}

// New returns the ledger in st. now is the broker's clock.
func New(st store.Store, now func() time.Time) *Ledger { return &Ledger{st: st, now: now} }

// Tx is a store transaction that can write records.
type Tx struct {
	store.Tx
	now       time.Time
	committed bool
}

// Commit runs fn in one durable transaction.
func (l *Ledger) Commit(ctx context.Context, fn func(*Tx) error) (store.Head, error) {
	var last *Tx
	head, err := l.st.Update(ctx, func(t store.Tx) error {
		last = &Tx{Tx: t, now: l.now().UTC()}
		return fn(last)
	})
	if err != nil {
		return store.Head{}, err
	}
	last.committed = true
	return head, nil
}

// Now is the transaction's time: every row and record in it bears the same.
func (t *Tx) Now() time.Time { return t.now }

// Record appends r, stamped with the transaction's time.
func (t *Tx) Record(r Record) (int64, error) {
	r.V, r.Time = 1, t.now
	leaf, err := r.leaf()
	if err != nil {
		return 0, err
	}
	return t.Append(leaf)
}

// Intent is evidence that a minting is on the record and may begin.
type Intent struct {
	tx        *Tx
	clearance approval.Clearance
	issuance  store.Issuance
	session   string
	record    Record
}

// Valid says whether the intent's transaction is durable.
func (i Intent) Valid() bool { return i.tx != nil && i.tx.committed && i.clearance.Valid() }

// Clearance is what the intent rests on.
func (i Intent) Clearance() approval.Clearance { return i.clearance }

// Issuance is the row that the intent opened.
func (i Intent) Issuance() store.Issuance { return i.issuance }

// Session is the upstream session's name, on the record before it exists.
func (i Intent) Session() string { return i.session }

// Intend opens an issuance. The Intent is refused by every later step until
// the transaction is durable.
func (t *Tx) Intend(c approval.Clearance, iss store.Issuance, session string, r Record) (Intent, error) {
	if !c.Valid() {
		return Intent{}, approval.ErrNoClearance
	}
	na := iss.NotAfter
	r.Type, r.Issuance, r.Session, r.NotAfter = IssuanceIntended, iss.ID, session, &na
	idx, err := t.Record(r)
	if err != nil {
		return Intent{}, err
	}
	iss.State, iss.At, iss.Index = store.IssuanceIntended, t.now, idx
	if err := t.PutIssuance(iss); err != nil {
		return Intent{}, err
	}
	return Intent{tx: t, clearance: c, issuance: iss, session: session, record: r}, nil
}

// Conclude closes the intent's issuance with its outcome. fn runs in the
// outcome's transaction: it fills in the record, changes other rows, and says
// how the issuance ended. The Receipt proves that the outcome is on the record.
func (l *Ledger) Conclude(ctx context.Context, i Intent, fn func(*Tx, *Record, *store.Issuance) error) (Receipt, error) {
	if !i.Valid() {
		return Receipt{}, ErrNotDurable
	}
	var index int64
	head, err := l.Commit(ctx, func(t *Tx) (err error) {
		r, iss := i.record, i.issuance
		if err := fn(t, &r, &iss); err != nil {
			return err
		}
		if iss.Index, err = t.Record(r); err != nil {
			return err
		}
		index = iss.Index
		return t.PutIssuance(iss)
	})
	if err != nil {
		return Receipt{}, err
	}
	return l.prove(ctx, head, index)
}

// Receipt is a record with its proof.
type Receipt struct {
	index      int64
	record     []byte
	proof      tlog.RecordProof
	checkpoint []byte
}

// Valid says whether r proves anything.
func (r Receipt) Valid() bool { return len(r.record) > 0 && len(r.checkpoint) > 0 }

// Index is the record's place in the log, from 0.
func (r Receipt) Index() int64 { return r.index }

// Record is the leaf as it was hashed.
func (r Receipt) Record() []byte { return r.record }

// Proof is the RFC 9162 inclusion proof.
func (r Receipt) Proof() tlog.RecordProof { return r.proof }

// Checkpoint is the signed note that the proof leads to.
func (r Receipt) Checkpoint() []byte { return r.checkpoint }

func (l *Ledger) prove(ctx context.Context, head store.Head, index int64) (Receipt, error) {
	out := Receipt{index: index, checkpoint: head.Checkpoint}
	err := l.st.View(ctx, func(rd store.Reader) (err error) {
		if index < 0 || index >= head.Size {
			return fmt.Errorf("%w: index %d in a log of %d", ErrNoRecord, index, head.Size)
		}
		if out.record, err = rd.Record(index); err != nil {
			return err
		}
		out.proof, err = tlog.ProveRecord(head.Size, index, rd)
		return err
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("proving record %d: %w", index, err)
	}
	return out, nil
}

// Head returns the newest durable head.
func (l *Ledger) Head(ctx context.Context) (h store.Head, err error) {
	err = l.st.View(ctx, func(rd store.Reader) error {
		h, err = rd.Head()
		return err
	})
	return h, err
}

// Prove returns a record with its proof to the newest head.
func (l *Ledger) Prove(ctx context.Context, index int64) (Receipt, error) {
	h, err := l.Head(ctx)
	if err != nil {
		return Receipt{}, err
	}
	return l.prove(ctx, h, index)
}

// ProveTree proves that the log of size old is a prefix of the newest.
func (l *Ledger) ProveTree(ctx context.Context, old int64) (proof tlog.TreeProof, checkpoint []byte, err error) {
	err = l.st.View(ctx, func(rd store.Reader) error {
		h, err := rd.Head()
		if err != nil {
			return err
		}
		if old < 1 || old > h.Size {
			return fmt.Errorf("%w: size %d of a log of %d", ErrNoRecord, old, h.Size)
		}
		checkpoint = h.Checkpoint
		proof, err = tlog.ProveTree(h.Size, old, rd)
		return err
	})
	return proof, checkpoint, err
}

// ProveGrowth proves that the log of size old is a prefix of the log of size
// size, which may be any size that it has had.
func (l *Ledger) ProveGrowth(ctx context.Context, old, size int64) (proof tlog.TreeProof, err error) {
	err = l.st.View(ctx, func(rd store.Reader) error {
		h, err := rd.Head()
		if err != nil {
			return err
		}
		if old < 1 || old > size || size > h.Size {
			return fmt.Errorf("%w: sizes %d and %d of a log of %d", ErrNoRecord, old, size, h.Size)
		}
		proof, err = tlog.ProveTree(size, old, rd)
		return err
	})
	return proof, err
}
