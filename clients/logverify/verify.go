package logverify

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify/proof"
)

// ErrVerification is what every fault of a log wraps: package proof's, under the
// name that this package's users know.
var ErrVerification = proof.ErrVerification

// BadRecordError names the first record that does not verify. It wraps
// [ErrVerification].
type BadRecordError struct {
	// First and Last are the records among which the fault lies, from 0. They
	// are equal where the fault can be pinned to one.
	First, Last int64
	// Problem says what is wrong.
	Problem string
}

func (e *BadRecordError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("record %d: %s", e.First, e.Problem)
	}
	return fmt.Sprintf("records %d to %d: %s", e.First, e.Last, e.Problem)
}

func (e *BadRecordError) Unwrap() error { return ErrVerification }

// Options is what a verification needs to know.
type Options struct {
	// Key is the log's verifier key, "name+hash+base64". The name is the
	// log's origin. Required.
	Key string
	// Saved is the signed checkpoint of an earlier run; nil for none. The log
	// must contain the log of that checkpoint.
	Saved []byte
	// Full reads the records that Saved covers again. Without it, and with
	// Saved, only what came later is read.
	Full bool
	// Progress, if not nil, is called after each bundle with the number of
	// records done and in all.
	Progress func(done, total int64)
	// Record, if not nil, is called with each record that was read, in order. What it
	// is told counts only once Verify has returned nil: the signature covers the
	// whole log. An error of its ends the run.
	Record func(index int64, leaf []byte) error
}

// Result is what was verified.
type Result struct {
	// Origin is the log's name.
	Origin string
	// Size is how many records the checkpoint covers.
	Size int64
	// Root is the hash over all of them.
	Root tlog.Hash
	// From is the first record that was read in this run; 0 for all.
	From int64
	// Checkpoint is the signed checkpoint, to be handed in as Saved next time.
	Checkpoint []byte
}

// Verify checks the whole log against its signed checkpoint: the signature,
// every record's leaf hash, every stored hash, the root, and where a saved
// checkpoint is given that the log has only grown since.
//
// A record changed together with every hash above it cannot be told from its
// neighbours by the signed root; the error then names the range of records
// that no earlier checkpoint vouches for.
func Verify(ctx context.Context, src Source, opts Options) (Result, error) {
	verifier, err := note.NewVerifier(opts.Key)
	if err != nil {
		return Result{}, fmt.Errorf("parsing verifier key: %w", err)
	}
	signed, err := src.Checkpoint(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	tree, err := proof.Checkpoint(signed, verifier)
	if err != nil {
		return Result{}, err
	}
	res := Result{Origin: verifier.Name(), Size: tree.N, Root: tree.Hash, Checkpoint: signed}
	var saved tlog.Tree
	if opts.Saved != nil {
		if saved, err = proof.Checkpoint(opts.Saved, verifier); err != nil {
			return Result{}, fmt.Errorf("opening the saved checkpoint: %w", err)
		}
		if saved.N > tree.N {
			return Result{}, fmt.Errorf("%w: it has shrunk: %d records now, %d at the saved checkpoint", ErrVerification, tree.N, saved.N)
		}
	}
	extra, err := src.Extra(ctx, tree.N)
	if err != nil {
		return Result{}, err
	}
	if extra > 0 {
		return Result{}, &BadRecordError{First: tree.N, Last: tree.N + extra - 1, Problem: "not covered by the signed checkpoint"}
	}
	w := &walk{src: src, tree: tree, saved: saved, edge: map[int64]tlog.Hash{}, progress: opts.Progress, visit: opts.Record}
	if !opts.Full && saved.N > 0 {
		if err := w.resume(ctx); err != nil {
			return Result{}, err
		}
		res.From = saved.N
	}
	if err := w.run(ctx); err != nil {
		return Result{}, err
	}
	return res, nil
}
