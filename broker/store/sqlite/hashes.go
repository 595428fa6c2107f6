package sqlite

import (
	"fmt"
	"maps"

	"golang.org/x/mod/sumdb/tlog"
	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// chunkHashes is how many of the tree's stored hashes share a row. They are
// appended in the order of their index, so a batch of a hundred records rewrites
// one row and adds a few, where a row each would be hundreds.
const chunkHashes = 64

// tree is the ledger's right edge as the writer holds it between and inside
// transactions. What a transaction adds is undone by discard.
type tree struct {
	// size is the number of records.
	size int64
	// edge are the stored hashes, by index, that the next records and the root are
	// made of: those that are durable, then those that the batch has added.
	edge map[int64]tlog.Hash
	// fresh are the hashes that the batch has added, in order; the first has the
	// index StoredHashCount(durable).
	fresh   []tlog.Hash
	durable int64
}

// load reads the edge of the durable tree.
func (t *tree) load(r *reader) error {
	n, err := r.size()
	if err != nil {
		return err
	}
	*t = tree{size: n, durable: n, edge: map[int64]tlog.Hash{}}
	_, _, err = t.root(r)
	return err
}

func (t *tree) add(n int64, leaf []byte) error {
	hashes, err := tlog.StoredHashes(n, leaf, tlog.HashReaderFunc(t.onEdge))
	if err != nil {
		return fmt.Errorf("hashing a record: %w", err)
	}
	at := tlog.StoredHashIndex(0, n)
	for i, h := range hashes {
		t.edge[at+int64(i)] = h
	}
	t.fresh = append(t.fresh, hashes...)
	t.size = n + 1
	return nil
}

// discard takes back what was added since the tree had n records.
func (t *tree) discard(n int64) {
	if n == t.size {
		return
	}
	from := tlog.StoredHashCount(n)
	maps.DeleteFunc(t.edge, func(at int64, _ tlog.Hash) bool { return at >= from })
	t.fresh = t.fresh[:from-tlog.StoredHashCount(t.durable)]
	t.size = n
}

// root returns the tree's hash, and the edge that it was made of: the only
// hashes that later records need.
func (t *tree) root(r *reader) (tlog.Hash, map[int64]tlog.Hash, error) {
	edge := map[int64]tlog.Hash{}
	root, err := tlog.TreeHash(t.size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out, err := t.onEdge(indexes)
		if err != nil && r != nil {
			out, err = r.ReadHashes(indexes)
		}
		if err != nil {
			return nil, err
		}
		for i, at := range indexes {
			edge[at], t.edge[at] = out[i], out[i]
		}
		return out, nil
	}))
	return root, edge, err
}

func (t *tree) onEdge(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		h, ok := t.edge[at]
		if !ok {
			return nil, fmt.Errorf("stored hash %d is not on the tree's edge", at)
		}
		out[i] = h
	}
	return out, nil
}

// write stores the batch's hashes.
func (t *tree) write(c conn) error {
	at := tlog.StoredHashCount(t.durable)
	for fresh := t.fresh; len(fresh) > 0; {
		chunk, in := at/chunkHashes, int(at%chunkHashes)
		n := min(chunkHashes-in, len(fresh))
		data := make([]byte, 0, n*tlog.HashSize)
		for _, h := range fresh[:n] {
			data = append(data, h[:]...)
		}
		// Hashes that are not where their index says they are would be signed over,
		// and found by the next start. A blob and a blob joined are text to SQLite;
		// the cast makes them bytes again.
		query, args := "INSERT INTO hash_chunks (chunk, data) VALUES (?, ?)", []any{chunk, data}
		if in > 0 {
			query, args = "UPDATE hash_chunks SET data = CAST(data || ? AS BLOB) WHERE chunk = ? AND length(data) = ?", []any{data, chunk, in * tlog.HashSize}
		}
		if err := c.exec(query, args...); err != nil {
			return err
		}
		if c.c.Changes() != 1 {
			return fmt.Errorf("chunk %d does not have %d hashes: the database was changed by somebody else", chunk, in)
		}
		at, fresh = at+int64(n), fresh[n:]
	}
	return nil
}

// ReadHashes implements tlog.HashReader.
func (r *reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		n := 0
		err := r.c.one("SELECT substr(data, ?, ?) FROM hash_chunks WHERE chunk = ?", func(s *sqlite.Stmt) error {
			n = s.ColumnBytes(0, out[i][:])
			return nil
		}, at%chunkHashes*tlog.HashSize+1, tlog.HashSize, at/chunkHashes)
		if err != nil || n != tlog.HashSize {
			return nil, fmt.Errorf("%w: stored hash %d is missing: %w", store.ErrUnavailable, at, err)
		}
	}
	return out, nil
}
