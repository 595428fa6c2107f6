package sqlite_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// TestAnEndIsOfTheRowThatWasRead ends what a sweep finds, where an index has lost a grant or has
// one twice. Either it has ended and is not found again, or that it is damaged is said.
func TestAnEndIsOfTheRowThatWasRead(t *testing.T) {
	const n = 4
	for name, damage := range map[string]func(path string){
		"lost from grants_id": func(path string) { loseEntry(t, path, "grants_id", "grants", "id LIKE 'grant_0001%'") },
		"there twice": func(path string) {
			without(t, path, "grants_id", "INSERT INTO grants SELECT * FROM grants WHERE id LIKE 'grant_0001%'")
		},
		"open in the index alone": func(path string) {
			without(t, path, "grants_open", "UPDATE grants SET live = 0, body = e.body, sum = e.sum FROM grants e WHERE grants.id LIKE 'grant_0001%' AND e.id LIKE 'ended_0001%'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := ending(t, n)
			damage(path)
			rows := count(t, path)
			db := open(t, path, storetest.Seal)
			all := store.Path{ID: "spiffe://td", Below: true}
			for range n + 1 {
				_, err := db.Update(t.Context(), func(tx store.Tx) error {
					gs, err := tx.OpenUnder(all, 1)
					for _, g := range gs {
						g.State = store.GrantRevoked
						err = errors.Join(err, tx.PutGrant(g))
					}
					return err
				})
				if err != nil && (!errors.Is(err, store.ErrDamaged) || db.Damage() == nil) {
					t.Fatalf("got %v, kept %v", err, db.Damage())
				}
			}
			err := db.View(t.Context(), func(r store.Reader) error {
				gs, err := r.OpenUnder(all, 100)
				if err == nil && len(gs) > 0 {
					t.Errorf("%d are open still", len(gs))
				}
				return err
			})
			if err != nil && !errors.Is(err, store.ErrDamaged) {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if now := count(t, path); now != rows {
				t.Errorf("%d rows of grants have become %d", rows, now)
			}
		})
	}
}

func count(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM grants NOT INDEXED").Scan(&n)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTheCheckFindsLostEntries loses the entry of a row that nothing else names.
func TestTheCheckFindsLostEntries(t *testing.T) {
	for _, c := range [][3]string{{"grants_id", "grants", "id LIKE 'ended_0001%'"}, {"issuances_id", "issuances", "id LIKE 'iss_0001%'"}} {
		path := ending(t, 4)
		loseEntry(t, path, c[0], c[1], c[2])
		db := open(t, path, storetest.Seal)
		if err := sqlite.CheckOnce(t.Context(), db); !errors.Is(err, store.ErrDamaged) || db.Damage() == nil {
			t.Errorf("%s: got %v, kept %v", c[0], err, db.Damage())
		}
	}
}

// TestTheLastSignedIsWhatWasRead has the head taken from a record that has none.
func TestTheLastSignedIsWhatWasRead(t *testing.T) {
	path := ending(t, 1)
	db := open(t, path, storetest.Seal)
	change(t, path, "UPDATE records SET note = NULL, sum = NULL, open = NULL")
	_, err := db.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Append([]byte("y")); return err })
	if !errors.Is(err, store.ErrDamaged) || db.Damage() == nil {
		t.Errorf("got %v, kept %v", err, db.Damage())
	}
}
