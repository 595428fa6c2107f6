// Package ledger is steps 6 and 8 of 9: intent before effect, outcome before
// delivery, both on a Merkle log that is in the state's own transaction.
//
// Laws:
//   - An Intent exists only once its record is durable; a Receipt likewise.
//   - A change of state comes with its record, as one grant.Change: a Tx can write the
//     rows of state in no other way, and nothing but package grant can make one.
//   - On a store that is damaged there is no Intent.
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

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

var (
	// ErrNotDurable means that evidence was asked for before its transaction
	// was committed, or that it is a zero value.
	ErrNotDurable = errors.New("not on the record")
	// ErrNoRecord means that an index or size lies outside the log.
	ErrNoRecord = errors.New("no such record")
)

// Timeout bounds the record of an outcome.
const Timeout = 10 * time.Second

// Ledger commits state together with its record. It is safe for concurrent use.
type Ledger struct {
	st  store.Store
	now func() time.Time
}

// New returns the ledger in st. now is the broker's clock.
func New(st store.Store, now func() time.Time) *Ledger { return &Ledger{st: st, now: now} }

// Tx is a store transaction that reads rows, writes records, and changes state with them.
type Tx struct {
	store.Reader
	rows      store.Tx
	damage    func() error
	now       time.Time
	committed bool
	// leaf is that of the newest record.
	leaf []byte
}

// Commit runs fn in one durable transaction.
func (l *Ledger) Commit(ctx context.Context, fn func(*Tx) error) (store.Head, error) {
	var last *Tx
	head, err := l.st.Update(ctx, func(t store.Tx) error {
		last = &Tx{Reader: struct{ store.Reader }{t}, rows: t, damage: l.st.Damage, now: l.now().UTC()}
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

// Record is one event, as it is on the log.
type Record = grant.Record

// Write puts one event on the record, in a transaction of its own.
func (l *Ledger) Write(ctx context.Context, c grant.Change) error {
	_, err := l.Commit(ctx, func(t *Tx) error {
		return t.Change(c)
	})
	return err
}

// WriteRepaired puts on the record that a person has looked at a damaged store.
func (l *Ledger) WriteRepaired(ctx context.Context, cause string) error {
	return l.Write(ctx, grant.Repaired(cause))
}

// Intent is evidence that a minting is on the record and may begin.
type Intent struct {
	tx        *Tx
	clearance quorum.Clearance
	opening   grant.Opening
}

// Valid says whether the intent's transaction is durable.
func (i Intent) Valid() bool { return i.tx != nil && i.tx.committed && i.clearance.Valid() }

// Clearance is what the intent rests on.
func (i Intent) Clearance() quorum.Clearance { return i.clearance }

// Opening is the issuance that it opened, with the name of the session upstream, on the
// record before it exists.
func (i Intent) Opening() grant.Opening { return i.opening }

// Intend opens an issuance, with the work that ends its credential: what cannot be
// revoked is not minted, and nothing is on a store that is damaged. The Intent is refused
// by every later step until the transaction is durable.
func (t *Tx) Intend(c quorum.Clearance, o grant.Opening) (Intent, error) {
	if err := t.damage(); err != nil {
		return Intent{}, err
	}
	o, change, err := o.Intend(c)
	if err != nil {
		return Intent{}, err
	}
	if err := t.Change(change); err != nil {
		return Intent{}, err
	}
	return Intent{tx: t, clearance: c, opening: o}, nil
}

// Conclude closes the intent's issuance. fn finds out how it ended, in the outcome's
// transaction. The Receipt proves that the outcome is on the record.
func (l *Ledger) Conclude(ctx context.Context, i Intent, fn func(*Tx) (grant.Change, error)) (Receipt, error) {
	if !i.Valid() {
		return Receipt{}, ErrNotDurable
	}
	var index int64
	var leaf []byte
	head, err := l.Commit(ctx, func(t *Tx) error {
		c, err := fn(t)
		if err != nil {
			return err
		}
		if iss := c.Rows().Issuance; iss == nil || iss.ID != i.opening.Issuance().ID {
			return fmt.Errorf("%w: the outcome is of another issuance", ErrNotDurable)
		}
		index, err = t.change(c)
		leaf = t.leaf
		return err
	})
	if err != nil {
		return Receipt{}, err
	}
	if head.Hashes == nil {
		return l.prove(ctx, head, index)
	}
	// Nothing is read: the hashes are those that became durable with the record.
	proof, err := tlog.ProveRecord(head.Size, index, head.Hashes)
	if err != nil {
		return Receipt{}, fmt.Errorf("proving record %d: %w", index, err)
	}
	return Receipt{index: index, record: leaf, proof: proof, checkpoint: head.Checkpoint}, nil
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

// Damage is why nothing may be minted: the store's own damage, or nil.
func (l *Ledger) Damage() error { return l.st.Damage() }

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

// ProveGrowth proves that the log of size old is a prefix of the log of size size, which may be
// any size that it has had; 0 is the newest, whose checkpoint comes with the proof.
func (l *Ledger) ProveGrowth(ctx context.Context, old, size int64) (proof tlog.TreeProof, checkpoint []byte, err error) {
	err = l.st.View(ctx, func(rd store.Reader) error {
		h, err := rd.Head()
		if err != nil {
			return err
		}
		if size == 0 {
			size, checkpoint = h.Size, h.Checkpoint
		}
		if old < 1 || old > size || size > h.Size {
			return fmt.Errorf("%w: sizes %d and %d of a log of %d", ErrNoRecord, old, size, h.Size)
		}
		proof, err = tlog.ProveTree(size, old, rd)
		return err
	})
	return proof, checkpoint, err
}
