package logverify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrVerification is what every fault of a log wraps.
var ErrVerification = errors.New("the log does not verify")

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
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return Result{}, err
	}
	res := Result{Origin: verifier.Name(), Size: tree.N, Root: tree.Hash, Checkpoint: signed}
	var saved tlog.Tree
	if opts.Saved != nil {
		if saved, err = openCheckpoint(opts.Saved, verifier); err != nil {
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
	w := &walk{src: src, tree: tree, saved: saved, edge: map[int64]tlog.Hash{}, progress: opts.Progress}
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

// openCheckpoint checks the signature and parses a C2SP tlog-checkpoint.
func openCheckpoint(signed []byte, v note.Verifier) (tlog.Tree, error) {
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: checking the checkpoint's signature: %w", ErrVerification, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint has fewer than three lines", ErrVerification)
	}
	if lines[0] != v.Name() {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint is of log %q, the key of %q", ErrVerification, lines[0], v.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint's size %q is not a number of records", ErrVerification, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	h, ok := toHash(root)
	if err != nil || !ok {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint's root %q is not a hash", ErrVerification, lines[2])
	}
	return tlog.Tree{N: size, Hash: h}, nil
}

func toHash(b []byte) (h tlog.Hash, ok bool) {
	return h, copy(h[:], b) == tlog.HashSize && len(b) == tlog.HashSize
}
