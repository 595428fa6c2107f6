// Package merkle is the right edge of the ledger's tree, as whoever writes to a store holds it:
// what the next records, and the signed head over them, are made of. A driver stores each
// record's hashes with it, and the signed note; what they are is said here.
//
// Laws:
//   - What is sealed and not yet committed is undone by Discard, to the last hash.
//   - Hashing and proofs are golang.org/x/mod/sumdb/tlog's.
package merkle

import (
	"fmt"
	"maps"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

// Tree is the ledger between and inside of transactions. It is used by one goroutine.
type Tree struct {
	size, durable int64
	// edge are the stored hashes, by index, that the next records and the root are
	// made of: those that are durable, then those that the batch has added.
	edge edge
	// kept is the edge of the tree that was sealed last: the only hashes that later records need.
	kept edge
}

// edge are stored hashes by index. With those of a batch it has every hash that the proof
// of one of the batch's records needs: what lies left of it was on the edge before.
type edge map[int64]tlog.Hash

// ReadHashes implements tlog.HashReader.
func (e edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		h, ok := e[at]
		if !ok {
			return nil, fmt.Errorf("stored hash %d is not on the tree's edge", at)
		}
		out[i] = h
	}
	return out, nil
}

// Load reads the edge of a durable tree of size records.
func Load(size int64, r tlog.HashReader) (Tree, error) {
	t := Tree{size: size, durable: size, edge: edge{}}
	if _, err := t.root(r); err != nil {
		return t, err
	}
	t.edge = t.kept
	return t, nil
}

// Size is the number of records.
func (t *Tree) Size() int64 { return t.size }

// Durable is the number of those that were committed.
func (t *Tree) Durable() int64 { return t.durable }

// Add appends a record, and returns what is stored with it: its Row.
func (t *Tree) Add(leaf []byte) (row []byte, err error) {
	hashes, err := tlog.StoredHashes(t.size, leaf, t.edge)
	if err != nil {
		return nil, fmt.Errorf("hashing a record: %w", err)
	}
	at := tlog.StoredHashIndex(0, t.size)
	for i, h := range hashes {
		t.edge[at+int64(i)] = h
	}
	t.size++
	return joined(hashes), nil
}

// Row is what is stored with record n: the hashes that it completes, lowest level first.
func Row(n int64, leaf []byte, r tlog.HashReader) ([]byte, error) {
	hashes, err := tlog.StoredHashes(n, leaf, r)
	return joined(hashes), err
}

// Place is the record in whose Row a stored hash is, and at which byte of it.
func Place(index int64) (record int64, at int) {
	level, n := tlog.SplitStoredHashIndex(index)
	return (n+1)<<level - 1, level * tlog.HashSize
}

func joined(hashes []tlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

// Discard takes back what was added since the tree had n records.
func (t *Tree) Discard(n int64) {
	if n == t.size {
		return
	}
	from := tlog.StoredHashCount(n)
	maps.DeleteFunc(t.edge, func(at int64, _ tlog.Hash) bool { return at >= from })
	t.size = n
}

// Seal signs the head over all records.
func (t *Tree) Seal(seal store.SealFunc) (store.Head, error) {
	root, err := t.root(nil)
	if err != nil {
		return store.Head{}, fmt.Errorf("hashing the ledger: %w", err)
	}
	note, err := seal(tlog.Tree{N: t.size, Hash: root})
	if err != nil {
		return store.Head{}, fmt.Errorf("signing the checkpoint: %w", err)
	}
	return store.Head{Size: t.size, Checkpoint: note, Hashes: t.edge}, nil
}

// Commit is called when what was sealed is durable. A head's hashes are the caller's from here on.
func (t *Tree) Commit() {
	if t.size > t.durable {
		t.durable, t.edge = t.size, t.kept
	}
}

// Hash is one that the edge has, or r.
func (t *Tree) Hash(index int64, r tlog.HashReader) (tlog.Hash, error) {
	if h, ok := t.edge[index]; ok {
		return h, nil
	}
	hashes, err := r.ReadHashes([]int64{index})
	if err != nil {
		return tlog.Hash{}, err
	}
	return hashes[0], nil
}

// root is the tree's hash. What the edge does not have, r has; nil for nothing.
func (t *Tree) root(r tlog.HashReader) (tlog.Hash, error) {
	t.kept = edge{}
	return tlog.TreeHash(t.size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out, err := t.edge.ReadHashes(indexes)
		if err != nil && r != nil {
			out, err = r.ReadHashes(indexes)
		}
		if err != nil {
			return nil, err
		}
		for i, at := range indexes {
			t.kept[at] = out[i]
		}
		return out, nil
	}))
}
