package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"
	"golang.org/x/mod/sumdb/tlog"
)

// chunkHashesMigration is version 2: hashes move from a row each into chunks, and
// an idempotency key's row has columns in place of a JSON body, and only live grants
// are indexed by their task. It is in Go since
// SQL cannot join blobs over rows. There is no way back.
func chunkHashesMigration() *goose.Migration {
	return goose.NewGoMigration(2, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		for _, q := range []string{
			`CREATE TABLE hash_chunks (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL)`,
			`CREATE TABLE keys (agent TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL, result TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (agent, key)) WITHOUT ROWID`,
			`INSERT INTO keys SELECT agent, key, body ->> 'Content', body ->> 'Result', unixepoch(body ->> 'At') * 1000000000 FROM idempotency`,
			`DROP TABLE idempotency`,
			`ALTER TABLE keys RENAME TO idempotency`,
			`DROP INDEX grants_task`,
			`CREATE INDEX grants_task ON grants (task) WHERE live = 1`,
		} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		if err := moveHashes(ctx, tx); err != nil {
			return fmt.Errorf("moving the ledger's hashes: %w", err)
		}
		_, err := tx.ExecContext(ctx, `DROP TABLE hashes`)
		return err
	}}, nil)
}

// chunkHashes is how many hashes shared a row, in the order of their index.
const chunkHashes = 64

func moveHashes(ctx context.Context, tx *sql.Tx) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT idx, hash FROM hashes ORDER BY idx`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var next int64
	var chunk []byte
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO hash_chunks (chunk, data) VALUES (?, ?)`, (next-1)/chunkHashes, chunk)
		chunk = nil
		return err
	}
	for rows.Next() {
		var at int64
		var hash []byte
		if err := rows.Scan(&at, &hash); err != nil {
			return err
		}
		if at != next || len(hash) != tlog.HashSize {
			return fmt.Errorf("stored hash %d is missing or broken: restore the database from a copy", next)
		}
		next, chunk = next+1, append(chunk, hash...)
		if next%chunkHashes == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(rows.Err(), flush())
}
