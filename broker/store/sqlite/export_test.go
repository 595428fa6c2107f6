package sqlite

import (
	"fmt"
	"testing"
)

// LimitPages makes the database full at n pages.
func (db *DB) LimitPages(t *testing.T, n int) {
	t.Helper()
	if err := db.w.exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
		t.Fatal(err)
	}
}

// MigrateTo makes or moves a file to an older schema.
var MigrateTo = migrateTo
