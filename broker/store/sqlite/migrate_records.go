package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"
	"golang.org/x/mod/sumdb/tlog"
)

// recordsMigration is version 6: a record's row has its hashes, and the newest one's the
// signed head, which were tables of their own. The log is copied. There is no way back.
func recordsMigration() *goose.Migration {
	return goose.NewGoMigration(6, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `CREATE TABLE log (idx INTEGER PRIMARY KEY, hashes BLOB NOT NULL, note BLOB, sum INTEGER, data BLOB NOT NULL)`); err != nil {
			return err
		}
		if err := copyLog(ctx, tx); err != nil {
			return fmt.Errorf("moving the ledger's hashes to its records: %w", err)
		}
		if err := moveNote(ctx, tx); err != nil {
			return fmt.Errorf("moving the ledger's signed head: %w", err)
		}
		for _, q := range []string{`DROP TABLE checkpoint`, `DROP TABLE hash_chunks`, `DROP TABLE records`, `ALTER TABLE log RENAME TO records`} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}}, nil)
}

func copyLog(ctx context.Context, tx *sql.Tx) (err error) {
	chunks := hashChunks{tx: tx}
	rows, err := tx.QueryContext(ctx, `SELECT idx, data FROM records ORDER BY idx`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	insert, err := tx.PrepareContext(ctx, `INSERT INTO log (idx, hashes, data) VALUES (?, ?, ?)`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	for next := int64(0); rows.Next(); next++ {
		var idx int64
		var data []byte
		if err := rows.Scan(&idx, &data); err != nil {
			return err
		}
		if idx != next {
			return fmt.Errorf("record %d is missing: restore the database from a copy", next)
		}
		hashes, err := chunks.between(ctx, tlog.StoredHashCount(idx), tlog.StoredHashCount(idx+1))
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, idx, hashes, data); err != nil {
			return err
		}
	}
	return rows.Err()
}

// hashChunks reads version 2's rows of hashes, in order.
type hashChunks struct {
	tx    *sql.Tx
	chunk int64
	data  []byte
}

// between are the stored hashes of [from, to), from where the last call ended.
func (h *hashChunks) between(ctx context.Context, from, to int64) ([]byte, error) {
	var out []byte
	for at := from; at < to; at++ {
		if h.data == nil || h.chunk != at/chunkHashes {
			h.chunk, h.data = at/chunkHashes, nil
			err := h.tx.QueryRowContext(ctx, `SELECT data FROM hash_chunks WHERE chunk = ?`, h.chunk).Scan(&h.data)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
		}
		in := at % chunkHashes * tlog.HashSize
		if int64(len(h.data)) < in+tlog.HashSize {
			return nil, fmt.Errorf("stored hash %d is missing: restore the database from a copy", at)
		}
		out = append(out, h.data[in:in+tlog.HashSize]...)
	}
	return out, nil
}

func moveNote(ctx context.Context, tx *sql.Tx) error {
	var size, records int64
	var note []byte
	err := tx.QueryRowContext(ctx, `SELECT size, note, (SELECT count(*) FROM log) FROM checkpoint`).Scan(&size, &note, &records)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = tx.QueryRowContext(ctx, `SELECT count(*) FROM log`).Scan(&records)
		if err == nil && records > 0 {
			err = fmt.Errorf("%d records have none: restore the database from a copy", records)
		}
		return err
	case err != nil:
		return err
	case size != records:
		return fmt.Errorf("it is of %d records, and there are %d: restore the database from a copy", size, records)
	}
	_, err = tx.ExecContext(ctx, `UPDATE log SET note = ?, sum = ? WHERE idx = ?`, note, sumOf(size-1, note), size-1)
	return err
}
