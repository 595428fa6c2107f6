package logverify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// database is a broker's SQLite file, read in one transaction, so that a
// running broker cannot move the log under the verifier.
type database struct {
	db *sql.DB
	tx *sql.Tx
	// schema is the version of the broker's tables.
	schema int64
	// signed is the record in whose row the checkpoint was.
	signed int64
}

// The schemas that differ in how they keep the log: since chunkSchema its hashes are in chunks,
// since recordSchema in the rows of the records, the newest of which has the checkpoint.
const (
	chunkSchema  = 2
	recordSchema = 6
)

// OpenSQLite opens a broker's database file read-only: of this version, or of one before whose
// hashes are in chunks (schemas 2 to 5).
func OpenSQLite(ctx context.Context, name string) (Source, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: url.PathEscape(name), RawQuery: "mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)"}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening database %q: %w", name, err)
	}
	db.SetMaxOpenConns(1)
	// Not the caller's context: a cancelled BeginTx context rolls back under a
	// reader, and the transaction ends with Close in any case.
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening database %q: %w", name, err), db.Close())
	}
	d := &database{db: db, tx: tx}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening database %q: %w", name, err), d.Close())
	}
	return d, nil
}

func (d *database) open(ctx context.Context) error {
	if err := d.tx.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&d.schema); err != nil {
		return fmt.Errorf("reading which schema it has, as every broker's database says: %w", err)
	}
	if d.schema < chunkSchema {
		return fmt.Errorf("its log is of schema %d, and the oldest that is read is %d: start a broker on a copy, which brings it up to date, and verify that", d.schema, chunkSchema)
	}
	return nil
}

func (d *database) Close() error {
	return errors.Join(d.tx.Rollback(), d.db.Close())
}

func (d *database) Checkpoint(ctx context.Context) ([]byte, error) {
	query := `SELECT idx, note FROM records WHERE note IS NOT NULL ORDER BY idx DESC LIMIT 1`
	if d.schema < recordSchema {
		query = `SELECT size - 1, note FROM checkpoint`
	}
	var note []byte
	err := d.tx.QueryRowContext(ctx, query).Scan(&d.signed, &note)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, d.unsigned(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint of schema %d: %w", d.schema, err)
	}
	return note, nil
}

// unsigned is why there is no checkpoint, which is in the newest record's row.
func (d *database) unsigned(ctx context.Context) error {
	var n int64
	err := d.tx.QueryRowContext(ctx, `SELECT count(*) FROM records`).Scan(&n)
	switch {
	case err != nil:
		return fmt.Errorf("counting the records: %w", err)
	case n > 0 && d.schema >= recordSchema:
		return &BadRecordError{First: n, Last: n, Problem: "the newest record is missing, and with it the checkpoint"}
	}
	return fmt.Errorf("%w: the database holds no checkpoint", ErrVerification)
}

func (d *database) Extra(ctx context.Context, size int64) (int64, error) {
	var before sql.NullInt64
	if err := d.tx.QueryRowContext(ctx, `SELECT min(idx) FROM records WHERE idx < 0`).Scan(&before); err != nil {
		return 0, fmt.Errorf("looking for records before the first: %w", err)
	}
	if before.Valid {
		return 0, &BadRecordError{First: before.Int64, Last: before.Int64, Problem: "it is before the first, and not covered by the signed checkpoint"}
	}
	var n int64
	if err := d.tx.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE idx >= ?`, size).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting records past the checkpoint: %w", err)
	}
	if n == 0 && d.signed != size-1 {
		return 0, &BadRecordError{First: d.signed, Last: d.signed, Problem: fmt.Sprintf("it has the signed checkpoint of %d records, which is the newest one's", size)}
	}
	return n, nil
}

func (d *database) Records(ctx context.Context, size, bundle int64, width int) (_ [][]byte, err error) {
	first := bundle * BundleWidth
	query := `SELECT idx, note IS NOT NULL AND idx <> ?, data FROM records WHERE idx >= ? AND idx < ? ORDER BY idx`
	if d.schema < recordSchema {
		query = `SELECT idx, ? < 0, data FROM records WHERE idx >= ? AND idx < ? ORDER BY idx`
	}
	rows, err := d.tx.QueryContext(ctx, query, size-1, first, first+int64(width))
	if err != nil {
		return nil, fmt.Errorf("reading records from %d: %w", first, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := make([][]byte, 0, width)
	for rows.Next() {
		var idx int64
		var signed bool
		var data []byte
		if err := rows.Scan(&idx, &signed, &data); err != nil {
			return nil, fmt.Errorf("reading record %d: %w", first+int64(len(out)), err)
		}
		if want := first + int64(len(out)); idx != want {
			return out, &BadRecordError{First: want, Last: want, Problem: "the record is missing"}
		}
		if signed {
			return out, &BadRecordError{First: idx, Last: idx, Problem: "it has a signed checkpoint, which is the newest record's alone"}
		}
		out = append(out, data)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading records from %d: %w", first, err)
	}
	if len(out) != width {
		want := first + int64(len(out))
		return out, &BadRecordError{First: want, Last: want, Problem: "the record is missing"}
	}
	return out, nil
}

// recordOf is the record that a stored hash came with, in whose row it is, after those of the
// levels below its own.
func recordOf(at int64) int64 {
	level, n := tlog.SplitStoredHashIndex(at)
	return (n+1)<<level - 1
}

// chunkHashes is how many stored hashes a chunk had, the last one excepted.
const chunkHashes = 64

// hashes reads the stored hashes of [from, to). Those that are missing are left out.
func (d *database) hashes(ctx context.Context, from, to int64) (_ map[int64]tlog.Hash, err error) {
	query, low, high := `SELECT idx, hashes FROM records WHERE idx >= ? AND idx <= ?`, recordOf(from), recordOf(to-1)
	if d.schema < recordSchema {
		query, low, high = `SELECT chunk, data FROM hash_chunks WHERE chunk >= ? AND chunk <= ?`, from/chunkHashes, (to-1)/chunkHashes
	}
	rows, err := d.tx.QueryContext(ctx, query, low, high)
	if err != nil {
		return nil, fmt.Errorf("reading hashes from %d: %w", from, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := make(map[int64]tlog.Hash, to-from)
	for rows.Next() {
		var row int64
		var data []byte
		if err := rows.Scan(&row, &data); err != nil {
			return nil, fmt.Errorf("reading hashes from %d: %w", from, err)
		}
		first, end, of := tlog.StoredHashIndex(0, row), tlog.StoredHashIndex(0, row+1), "record"
		if d.schema < recordSchema {
			first, end, of = row*chunkHashes, (row+1)*chunkHashes, "chunk"
		}
		n := int64(len(data) / tlog.HashSize)
		if len(data)%tlog.HashSize != 0 || first+n > end {
			return nil, fmt.Errorf("%w: %s %d has %d bytes of stored hashes", ErrVerification, of, row, len(data))
		}
		for i := range n {
			if at := first + i; at >= from && at < to {
				out[at] = tlog.Hash(data[i*tlog.HashSize:][:tlog.HashSize])
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading hashes from %d: %w", from, err)
	}
	return out, nil
}

func (d *database) Hashes(ctx context.Context, _, bundle int64, width int) (map[int64]tlog.Hash, error) {
	// What is stored for record n lies in front of the leaf of record n+1.
	first := bundle * BundleWidth
	from, to := tlog.StoredHashCount(first), tlog.StoredHashCount(first+int64(width))
	out, err := d.hashes(ctx, from, to)
	if err != nil {
		return nil, err
	}
	// This format stores every level, so a hole is a fault, not a choice.
	for i := from; i < to; i++ {
		if _, ok := out[i]; !ok {
			level, n := tlog.SplitStoredHashIndex(i)
			last := (n+1)<<level - 1
			return nil, &BadRecordError{First: last, Last: last, Problem: fmt.Sprintf("stored hash %d, which came with the record, is missing", i)}
		}
	}
	return out, nil
}

func (d *database) Peaks(ctx context.Context, _ tlog.Tree) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			found, err := d.hashes(ctx, at, at+1)
			if err != nil {
				return nil, err
			}
			h, ok := found[at]
			if !ok {
				return nil, fmt.Errorf("%w: stored hash %d is missing", ErrVerification, at)
			}
			out[i] = h
		}
		return out, nil
	})
}
