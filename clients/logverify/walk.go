package logverify

import (
	"context"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// walk recomputes a tree from its records, and keeps of it only the right edge.
type walk struct {
	src      Source
	tree     tlog.Tree
	saved    tlog.Tree // N is 0 for none
	next     int64     // the record to read next
	edge     map[int64]tlog.Hash
	progress func(done, total int64)
	visit    func(index int64, leaf []byte) error // nil for none
}

// resume takes over the right edge of the saved tree. The log's word for it is
// enough, because the edge must hash to the saved root.
func (w *walk) resume(ctx context.Context) error {
	for _, i := range peaks(w.saved.N) {
		// In tiles the answer is first held against the newest root.
		h, err := w.src.Peaks(ctx, w.tree).ReadHashes([]int64{i})
		if err != nil {
			return fmt.Errorf("resuming at record %d: %w", w.saved.N, err)
		}
		w.edge[i] = h[0]
	}
	w.next = w.saved.N
	return w.checkSaved()
}

// peaks lists the stored-hash indexes of the complete subtrees that make up a
// tree of n records.
func peaks(n int64) []int64 {
	var out []int64
	var done int64
	for level := bits.Len64(uint64(n)) - 1; level >= 0; level-- { //nolint:gosec // n is not negative
		if n>>level&1 == 0 {
			continue
		}
		out = append(out, tlog.StoredHashIndex(level, done>>level))
		done += 1 << level
	}
	return out
}

func (w *walk) checkSaved() error {
	root, err := w.root(w.saved.N)
	if err != nil {
		return err
	}
	if root != w.saved.Hash {
		return &BadRecordError{First: 0, Last: w.saved.N - 1, Problem: fmt.Sprintf("history was rewritten: the first %d records no longer hash to the saved checkpoint", w.saved.N)}
	}
	return nil
}

func (w *walk) run(ctx context.Context) error {
	for w.next < w.tree.N {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verifying record %d: %w", w.next, err)
		}
		if err := w.bundle(ctx); err != nil {
			return err
		}
		if w.progress != nil {
			w.progress(w.next, w.tree.N)
		}
	}
	root, err := w.root(w.tree.N)
	if err != nil {
		return err
	}
	if root == w.tree.Hash {
		return nil
	}
	if w.saved.N == w.tree.N {
		return fmt.Errorf("%w: its checkpoint and the saved one disagree about the same %d records", ErrVerification, w.tree.N)
	}
	return &BadRecordError{First: w.saved.N, Last: max(w.saved.N, w.tree.N-1), Problem: fmt.Sprintf("records and stored hashes agree on root %s, the signed checkpoint says %s", root, w.tree.Hash)}
}

// bundle verifies what is left of the bundle that holds the next record.
func (w *walk) bundle(ctx context.Context) error {
	number := w.next / BundleWidth
	first := number * BundleWidth
	width := int(min(BundleWidth, w.tree.N-first))
	records, broken := w.src.Records(ctx, w.tree.N, number, width)
	if broken != nil {
		broken = fmt.Errorf("reading records %d to %d: %w", first, first+int64(width)-1, broken)
		if int64(len(records)) <= w.next-first {
			return broken
		}
	}
	stored, err := w.src.Hashes(ctx, w.tree.N, number, width)
	if err != nil {
		if broken != nil {
			return broken
		}
		return fmt.Errorf("reading the hashes of records %d to %d: %w", first, first+int64(width)-1, err)
	}
	for _, data := range records[w.next-first:] {
		if err := w.record(data, stored); err != nil {
			return err
		}
		if w.next == w.saved.N {
			if err := w.checkSaved(); err != nil {
				return err
			}
		}
	}
	return broken
}

// record adds one record to the tree and compares each hash that it completes
// with the one that the log has stored.
func (w *walk) record(data []byte, stored map[int64]tlog.Hash) error {
	n := w.next
	hashes, err := tlog.StoredHashesForRecordHash(n, tlog.RecordHash(data), w.reader())
	if err != nil {
		return fmt.Errorf("hashing record %d: %w", n, err)
	}
	at := tlog.StoredHashIndex(0, n)
	for level, h := range hashes {
		i := at + int64(level)
		if have, ok := stored[i]; ok && have != h {
			problem := "its hash differs from the stored leaf hash"
			if level > 0 {
				problem = fmt.Sprintf("their hash differs from the stored one (level %d)", level)
			}
			return &BadRecordError{First: n + 1 - 1<<level, Last: n, Problem: problem}
		}
		w.edge[i] = h
	}
	w.next++
	w.prune()
	if w.visit != nil {
		return w.visit(n, data)
	}
	return nil
}

// prune drops what later records do not need, every so often.
func (w *walk) prune() {
	if len(w.edge) < 4*BundleWidth {
		return
	}
	keep := make(map[int64]tlog.Hash, 64)
	for _, i := range peaks(w.next) {
		keep[i] = w.edge[i]
	}
	w.edge = keep
}

func (w *walk) root(n int64) (tlog.Hash, error) {
	root, err := tlog.TreeHash(n, w.reader())
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("hashing the tree of %d records: %w", n, err)
	}
	return root, nil
}

func (w *walk) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, idx := range indexes {
			h, ok := w.edge[idx]
			if !ok {
				return nil, fmt.Errorf("hash %d is not on the right edge", idx)
			}
			out[i] = h
		}
		return out, nil
	})
}
