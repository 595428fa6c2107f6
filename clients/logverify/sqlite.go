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
}

// OpenSQLite opens a broker's database file read-only.
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
	return &database{db: db, tx: tx}, nil
}

func (d *database) Close() error {
	return errors.Join(d.tx.Rollback(), d.db.Close())
}

func (d *database) Checkpoint(ctx context.Context) ([]byte, error) {
	var note []byte
	err := d.tx.QueryRowContext(ctx, `SELECT note FROM checkpoint WHERE id = 0`).Scan(&note)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%w: the database holds no checkpoint", ErrVerification)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	return note, nil
}

func (d *database) Extra(ctx context.Context, size int64) (int64, error) {
	var n int64
	if err := d.tx.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE idx >= ?`, size).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting records past the checkpoint: %w", err)
	}
	return n, nil
}

func (d *database) Records(ctx context.Context, _, bundle int64, width int) (_ [][]byte, err error) {
	first := bundle * BundleWidth
	rows, err := d.tx.QueryContext(ctx, `SELECT idx, data FROM records WHERE idx >= ? AND idx < ? ORDER BY idx`, first, first+int64(width))
	if err != nil {
		return nil, fmt.Errorf("reading records from %d: %w", first, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := make([][]byte, 0, width)
	for rows.Next() {
		var idx int64
		var data []byte
		if err := rows.Scan(&idx, &data); err != nil {
			return nil, fmt.Errorf("reading record %d: %w", first+int64(len(out)), err)
		}
		if want := first + int64(len(out)); idx != want {
			return out, &BadRecordError{First: want, Last: want, Problem: "the record is missing"}
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

// chunkHashes is how many stored hashes a row of the database has, the last one
// excepted: part of its format.
const chunkHashes = 64

// hashes reads the stored hashes of [from, to). Those that are missing are left out.
func (d *database) hashes(ctx context.Context, from, to int64) (_ map[int64]tlog.Hash, err error) {
	rows, err := d.tx.QueryContext(ctx, `SELECT chunk, data FROM hash_chunks WHERE chunk >= ? AND chunk <= ?`, from/chunkHashes, (to-1)/chunkHashes)
	if err != nil {
		return nil, fmt.Errorf("reading hashes from %d: %w", from, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := make(map[int64]tlog.Hash, to-from)
	for rows.Next() {
		var chunk int64
		var data []byte
		if err := rows.Scan(&chunk, &data); err != nil {
			return nil, fmt.Errorf("reading hashes from %d: %w", from, err)
		}
		if len(data)%tlog.HashSize != 0 || len(data) > chunkHashes*tlog.HashSize {
			return nil, fmt.Errorf("%w: chunk %d of stored hashes has %d bytes", ErrVerification, chunk, len(data))
		}
		for i := range int64(len(data) / tlog.HashSize) {
			if at := chunk*chunkHashes + i; at >= from && at < to {
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
