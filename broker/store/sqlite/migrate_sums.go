package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"
)

// sumsMigration is version 5: every row gets a sum over the rest of it, and every
// credential that may be in use the work that ends it. There is no way back.
func sumsMigration() *goose.Migration {
	return goose.NewGoMigration(5, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		for _, q := range []string{
			`UPDATE grants SET delegate = body ->> 'Delegate'`,
			`INSERT INTO work (id, due, body) SELECT i.id, NULL, json_object('ID', i.id, 'GrantID', i.grant_id, 'Agent', i.body ->> 'Agent', 'Cause', '',
'Handle', json(i.body -> 'Handle'), 'Held', json('true'), 'CreatedAt', i.body ->> 'At', 'NextAt', i.body ->> 'At', 'DoneAt', '0001-01-01T00:00:00Z')
FROM issuances i JOIN grants g ON g.id = i.grant_id WHERE i.state = 'intended' OR i.state = 'issued' AND g.live = 1 ON CONFLICT DO NOTHING`,
		} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		for _, s := range []summed{
			summedOf(tasks), summedOf(grants), summedBody("issuances"), summedBody("work"), summedOf(approvals), summedOf(sweeps),
			summedOf(coolings), summedOf(keys), summedOf(freezes), summedOf(buckets),
		} {
			if err := s.add(ctx, tx); err != nil {
				return fmt.Errorf("summing the rows of %s: %w", s.name, err)
			}
		}
		return nil
	}}, nil)
}

// summed is a table whose rows get sums: over the columns of, in the order of the key.
type summed struct {
	name    string
	key, of []string
}

func summedOf[T any](tb table[T]) summed {
	s := summed{name: tb.name, key: tb.cols[:tb.keys], of: []string{"body"}}
	if tb.plain {
		s.of = tb.cols
	}
	return s
}

// summedBody is a table of bodies by id, of those that have changed since.
func summedBody(name string) summed {
	return summed{name: name, key: []string{"id"}, of: []string{"body"}}
}

// summedRows is how many rows are read before they are written.
const summedRows = 1000

func (s summed) add(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "ALTER TABLE "+s.name+" ADD COLUMN sum INTEGER NOT NULL DEFAULT 0"); err != nil {
		return err
	}
	key := strings.Join(s.key, ", ")
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(s.key)), ", ")
	from := "SELECT " + key + ", " + strings.Join(s.of, ", ") + " FROM " + s.name
	order := fmt.Sprintf(" ORDER BY %s LIMIT %d", key, summedRows)
	update := strings.Join([]string{"UPDATE", s.name, "SET sum = ? WHERE (" + key + ") = (" + marks + ")"}, " ")
	for after := []any(nil); ; {
		query := from + order
		if after != nil {
			query = from + " WHERE (" + key + ") > (" + marks + ")" + order
		}
		rows, err := s.read(ctx, tx, query, after)
		if err != nil {
			return err
		}
		for _, row := range rows {
			args := append([]any{sumOf(row[len(s.key):]...)}, row[:len(s.key)]...)
			if _, err := tx.ExecContext(ctx, update, args...); err != nil {
				return err
			}
			after = row[:len(s.key)]
		}
		if len(rows) < summedRows {
			return nil
		}
	}
}

func (s summed) read(ctx context.Context, tx *sql.Tx, query string, after []any) (out [][]any, err error) {
	rows, err := tx.QueryContext(ctx, query, after...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row := make([]any, len(s.key)+len(s.of))
		to := make([]any, len(row))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}
