package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/pressly/goose/v3"
)

// issuancesMigration is version 8: the work that ends a credential is in its issuance's row, and
// an issuance is found by its grant. There is no way back.
func issuancesMigration() *goose.Migration {
	return goose.NewGoMigration(8, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		for _, q := range []string{
			`CREATE TABLE issuances_with_work (
  grant_id TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL, due INTEGER, work TEXT, work_sum INTEGER
)`,
			`INSERT INTO issuances_with_work SELECT i.grant_id, i.id, i.state, i.body, i.sum, w.due, w.body, w.sum FROM issuances i LEFT JOIN work w ON w.id = i.id ORDER BY i.id`,
			`DROP TABLE issuances`,
			`DROP TABLE work`,
			`ALTER TABLE issuances_with_work RENAME TO issuances`,
			`CREATE UNIQUE INDEX issuances_id ON issuances (grant_id, id)`,
			`CREATE INDEX issuances_open ON issuances (state) WHERE state = 'intended'`,
			`CREATE INDEX issuances_due ON issuances (due) WHERE due IS NOT NULL`,
		} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}}, nil)
}

// openMigration is version 9: which issuances are open is told by the newest record's row, and by
// no index. There is no way back.
func openMigration() *goose.Migration {
	return goose.NewGoMigration(9, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		var open sql.NullString
		if err := tx.QueryRowContext(ctx, `SELECT min(grant_id) FROM issuances WHERE state = 'intended'`).Scan(&open); err != nil {
			return err
		}
		for _, q := range []string{`ALTER TABLE records ADD COLUMN open TEXT`, `DROP INDEX issuances_open`} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		if !open.Valid {
			return nil
		}
		var idx int64
		var note []byte
		err := tx.QueryRowContext(ctx, `SELECT idx, note FROM records WHERE note IS NOT NULL`).Scan(&idx, &note)
		if errors.Is(err, sql.ErrNoRows) {
			return errors.New("there are open issuances and no signed record: restore the database from a copy")
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE records SET open = ?, sum = ? WHERE idx = ?`, open.String, sumOfSigned(idx, note, open.String), idx)
		return err
	}}, nil)
}
