package sqlite

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// LimitPages makes the database full at n pages.
func (db *DB) LimitPages(t *testing.T, n int) {
	t.Helper()
	if err := db.w.exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
		t.Fatal(err)
	}
}

// Patient is a configuration whose start looks for damage until it has seen all.
func Patient(cfg Config) Config {
	cfg.patience = 10 * time.Minute
	return cfg
}

// MigrateTo makes or moves a file to an older schema.
var MigrateTo = migrateTo

// SumOf is the sum of a row.
var SumOf = sumOf

// CheckOnce is one pass of the background's check, without its pauses.
func CheckOnce(ctx context.Context, db *DB) error {
	for _, w := range walks() {
		if err := db.withChecker(ctx, func(r *reader) error { return w.whole(r, checkRows) }); err != nil {
			return err
		}
	}
	return nil
}

// WalkNames are the tables and indexes that are looked at.
func WalkNames() (names []string) {
	for _, w := range walks() {
		names = append(names, w.name)
	}
	return names
}
