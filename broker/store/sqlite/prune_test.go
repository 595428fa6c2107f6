package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// Rows that no store.Reader shows, done work and full buckets, go too.
func TestPruneLeavesNothingBehind(t *testing.T) {
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x.db"), Seal: storetest.Seal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Now().UTC()
	old := now.Add(-time.Hour)
	if _, err := db.Update(t.Context(), func(tx store.Tx) error {
		var errs []error
		for i := range 50 {
			id := fmt.Sprintf("%03d", i)
			errs = append(errs, tx.PutBucket(id, old),
				tx.PutTask(store.Task{ID: "t" + id, OpenedAt: old, ClosedAt: old}),
				tx.PutGrant(store.Grant{ID: "g" + id, TaskID: "t" + id, State: store.GrantExpired, RequestedAt: old, EndedAt: old}),
				tx.PutIssuance(store.Issuance{ID: "i" + id, GrantID: "g" + id, State: store.IssuanceIssued}),
				tx.PutWork(store.Work{ID: "i" + id, GrantID: "g" + id, DoneAt: old}),
				tx.PutIdempotency(store.Idempotency{Agent: "a" + id, Key: "k", Result: "g" + id, At: old}),
			)
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatal(err)
	}
	cut := now.Add(-time.Minute)
	for from, calls := "", 0; ; calls++ {
		if _, err := db.Update(t.Context(), func(tx store.Tx) (err error) {
			from, err = tx.Prune(store.Prune{Now: now, Keys: cut, Ended: cut}, from, 7)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if from == "" {
			if most := 5 * (50/7 + 2); calls > most {
				t.Errorf("%d calls, over %d", calls, most)
			}
			break
		}
	}
	for _, table := range []string{"idempotency", "issuances", "grants", "tasks", "buckets"} {
		n := -1
		err := db.w.one("SELECT count(*) FROM "+table, func(s *sqlite.Stmt) error { n = s.ColumnInt(0); return nil })
		if err != nil || n != 0 {
			t.Errorf("%d rows left in %s, %v", n, table, err)
		}
	}
}
