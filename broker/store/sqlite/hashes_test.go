package sqlite_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// Hashes are appended to where the last ones end. If that is not where their index
// says, nothing is signed over them.
func TestHashesAreAppendedInTheirPlaceAlone(t *testing.T) {
	for name, query := range map[string]string{
		"one too many": "UPDATE hash_chunks SET data = CAST(data || zeroblob(32) AS BLOB)",
		"one too few":  "UPDATE hash_chunks SET data = substr(data, 1, length(data) - 32)",
		"none":         "DELETE FROM hash_chunks",
		"a next chunk": "INSERT INTO hash_chunks (chunk, data) VALUES (1, zeroblob(32))",
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
