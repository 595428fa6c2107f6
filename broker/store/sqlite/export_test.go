package sqlite

import (
	"fmt"
	"testing"
)

// LimitPages makes the database full at n pages.
func (db *DB) LimitPages(t *testing.T, n int) {
	t.Helper()
	if _, err := db.w.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
		t.Fatal(err)
	}
}
