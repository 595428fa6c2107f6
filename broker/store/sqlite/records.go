package sqlite

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/merkle"
)

// A row of records has the leaf, the hashes that the tree stores with it, and, where it is the
// newest, the signed head, from which grant on issuances are open, and a sum over both: what a
// commit writes of the log is on one page. The
// leaf is last, since it can be long: a read of a hash does not go through it.

// maxRecords is more than there can ever be. Of a tree of 2^62 tlog would never come to an end.
const maxRecords = 1 << 48

func (r *reader) size() (n int64, err error) {
	err = r.row("SELECT coalesce(max(idx) + 1, 0) FROM records WHERE idx >= 0", func(s *sqlite.Stmt) error {
		if n = s.ColumnInt64(0); n > maxRecords {
			return fmt.Errorf("%w: there is a record %d", store.ErrDamaged, n-1)
		}
		return nil
	})
	return n, err
}

// newestSigned is what checkSigned looks at: inside of a batch there are newer records.
const newestSigned = "SELECT idx, note, sum, open FROM records WHERE note IS NOT NULL ORDER BY idx DESC LIMIT 1"

// checkSigned holds what a row has of the signed head against its sum.
func checkSigned(s *sqlite.Stmt) error {
	var open any
	if !s.ColumnIsNull(3) {
		open = s.ColumnText(3)
	}
	signed := !s.ColumnIsNull(1)
	if signed != !s.ColumnIsNull(2) || !signed && open != nil || signed && sumOfSigned(s.ColumnInt64(0), blob(s, 1), open) != s.ColumnInt64(2) {
		return fmt.Errorf("%w: what is signed over record %d is not what was written", store.ErrDamaged, s.ColumnInt64(0))
	}
	return nil
}

// sumOfSigned leaves open out where it is nil.
func sumOfSigned(idx int64, note []byte, open any) int64 {
	if open == nil {
		return sumOf(idx, note)
	}
	return sumOf(idx, note, open)
}

func (r *reader) Head() (h store.Head, err error) {
	err = r.row(newestSigned, func(s *sqlite.Stmt) error {
		h = store.Head{Size: s.ColumnInt64(0) + 1, Checkpoint: blob(s, 1)}
		return checkSigned(s)
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Head{}, nil
	}
	return h, err
}

func (r *reader) Record(index int64) (data []byte, err error) {
	err = r.row("SELECT data FROM records WHERE idx = ?", func(s *sqlite.Stmt) error { data = blob(s, 0); return nil }, index)
	return data, err
}

func (r *reader) Records(index int64, n int) (out [][]byte, err error) {
	err = r.c.each("SELECT idx, data FROM records WHERE idx >= ? ORDER BY idx LIMIT ?", func(s *sqlite.Stmt) error {
		if want := index + int64(len(out)); s.ColumnInt64(0) != want {
			return fmt.Errorf("%w: record %d is missing", store.ErrDamaged, want)
		}
		out = append(out, blob(s, 1))
		return nil
	}, index, n)
	if err != nil {
		return nil, unavailable("reading", err)
	}
	return out, nil
}

func (t *tx) Append(leaf []byte) (int64, error) {
	n := t.tree.Size()
	hashes, err := t.tree.Add(leaf)
	if err != nil {
		return 0, err
	}
	if err := t.exec("INSERT INTO records (idx, hashes, data) VALUES (?, ?, ?)", n, hashes, leaf); err != nil {
		t.tree.Discard(n)
		return 0, err
	}
	return n, nil
}

// seal gives the newest record the signed head, and takes it from the one that had it: a log
// that has lost its end has no head, and cannot be taken for an older one.
func (t *tx) seal(note []byte) error {
	put := func(had string, at int64, note, sum, open any) error {
		if err := t.exec("UPDATE records SET note = ?, sum = ?, open = ? WHERE idx = ? AND note IS "+had, note, sum, open, at); err != nil {
			return err
		}
		if t.c.c.Changes() != 1 {
			return unavailable("signing", t.c.judge(fmt.Errorf("%w: record %d is missing, or is not the last that was signed", store.ErrDamaged, at)))
		}
		return nil
	}
	if old := t.tree.Durable(); old > 0 {
		if err := put("NOT NULL", old-1, nil, nil, nil); err != nil {
			return err
		}
	}
	at, open := t.tree.Size()-1, t.open.from()
	return put("NULL", at, note, sumOfSigned(at, note, open), open)
}

// ReadHashes implements tlog.HashReader: a hash is in the row of the record that completed it.
func (r *reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		record, from := merkle.Place(at)
		n := 0
		err := r.c.one("SELECT substr(hashes, ?, ?) FROM records WHERE idx = ?", func(s *sqlite.Stmt) error {
			n = s.ColumnBytes(0, out[i][:])
			return nil
		}, from+1, tlog.HashSize, record)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return nil, unavailable("reading a hash", err)
		case err != nil || n != tlog.HashSize:
			return nil, r.c.judge(fmt.Errorf("%w: stored hash %d is missing", store.ErrDamaged, at))
		}
	}
	return out, nil
}

// ReadHashes looks at the edge first, which the writer has in memory.
func (t *tx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		var err error
		if out[i], err = t.tree.Hash(at, &t.reader); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// stepRecords holds each record, and the hashes that are stored with it, against the
// tree: they are what tlog makes of it and of those before.
func stepRecords(r *reader, after []any, limit int) ([]any, error) {
	from := int64(0)
	if after != nil {
		from = after[0].(int64) + 1 //nolint:forcetypeassert // this walk's own
	}
	size, err := r.checkedSize()
	if err != nil {
		return nil, err
	}
	to := min(from+int64(limit), size)
	if err := r.checkRecords(from, to); err != nil || to == size {
		return nil, err
	}
	return []any{to - 1}, nil
}

// checkedSize is the number of records, which is the signed one. None lies before the first.
func (r *reader) checkedSize() (int64, error) {
	size, err := r.size()
	if err != nil {
		return 0, err
	}
	switch before, err := r.has("records WHERE idx < 0"); {
	case err != nil:
		return 0, err
	case before:
		return 0, r.c.judge(fmt.Errorf("%w: there is a record before the first", store.ErrDamaged))
	}
	h, err := r.Head()
	if err == nil && h.Size != size {
		err = r.c.judge(fmt.Errorf("%w: %d records of %d that are signed", store.ErrDamaged, size, h.Size))
	}
	return size, err
}

func (r *reader) checkRecords(from, to int64) error {
	at := from
	err := r.c.each("SELECT idx, note, sum, open, hashes, data FROM records WHERE idx >= ? AND idx < ? ORDER BY idx", func(s *sqlite.Stmt) error {
		if s.ColumnInt64(0) != at {
			return fmt.Errorf("%w: record %d is missing", store.ErrDamaged, at)
		}
		if err := checkSigned(s); err != nil {
			return err
		}
		want, err := merkle.Row(at, blob(s, 5), r)
		if err != nil {
			return err
		}
		if s.ColumnType(4) != sqlite.TypeBlob || s.ColumnType(5) != sqlite.TypeBlob || !bytes.Equal(want, blob(s, 4)) {
			return fmt.Errorf("%w: record %d is not the one that was hashed", store.ErrDamaged, at)
		}
		at++
		return nil
	}, from, to)
	if err == nil && at != to {
		err = r.c.judge(fmt.Errorf("%w: record %d is missing", store.ErrDamaged, at))
	}
	return err
}
