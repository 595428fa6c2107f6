package sqlite_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// Records are appended to where the last one is, which gives up the signed head. Where that is
// not so, nothing is signed over them.
func TestRecordsAreAppendedInTheirPlaceAlone(t *testing.T) {
	for name, query := range map[string]string{
		"one too many": "INSERT INTO records (idx, hashes, data) VALUES (5, zeroblob(32), zeroblob(1))",
		"one too few":  "DELETE FROM records WHERE idx = 4",
		"none":         "DELETE FROM records",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			db := open(t, path, storetest.Seal)
			add := func(n int) error {
				_, err := db.Update(t.Context(), func(tx store.Tx) error {
					for range n {
						if _, err := tx.Append([]byte("a")); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			}
			if err := add(5); err != nil {
				t.Fatal(err)
			}
			change(t, path, query)
			if err := add(64); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// change changes the file behind the store's back.
func change(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), query)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// A record before the first is in no tree, and no walk over the log comes by.
func TestRecordBeforeTheFirst(t *testing.T) {
	for name, query := range map[string]string{"with others": "", "alone": "; DELETE FROM records WHERE idx >= 0"} {
		t.Run(name, func(t *testing.T) {
			path := populated(t)
			change(t, path, "INSERT INTO records (idx, hashes, data) VALUES (-7, x'00', x'00')"+query)
			if err := open(t, path, storetest.Seal).Damage(); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "before the first") {
				t.Errorf("got %v", err)
			}
		})
	}
}
