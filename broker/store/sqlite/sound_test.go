package sqlite_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// ending is a database in whose n grants' time is over, n ends are due, n intents are open and n
// sweeps are, each kind on several pages of its table and of each index.
func ending(t *testing.T, n int) string {
	t.Helper()
	path, now, long := filepath.Join(t.TempDir(), "x.db"), time.Now().UTC(), strings.Repeat("i", 200)
	db := open(t, path, storetest.Seal)
	if _, err := db.Update(t.Context(), func(tx store.Tx) error {
		var errs []error
		for i := range n {
			live, ended, iss := fmt.Sprintf("grant_%04d%s", i, long), fmt.Sprintf("ended_%04d%s", i, long), fmt.Sprintf("iss_%04d%s", i, long)
			g := store.Grant{ID: live, TaskID: "task", Agent: fmt.Sprintf("spiffe://td/agent/%04d/%s", i, long), State: store.GrantCleared, ExpiresAt: now.Add(-time.Minute)}
			e := g
			e.ID, e.State, e.EndedAt = ended, store.GrantRevoked, now
			errs = append(errs, tx.PutGrant(g), tx.PutGrant(e),
				tx.PutIssuance(store.Issuance{ID: iss, GrantID: ended, Agent: g.Agent, State: store.IssuanceOrphaned, Handle: []byte(`{}`)}),
				tx.PutWork(store.Work{ID: iss, GrantID: ended, Agent: g.Agent, Handle: []byte(`{}`), NextAt: now.Add(-time.Hour)}),
				tx.PutIssuance(store.Issuance{ID: "open_" + iss, GrantID: live, Agent: g.Agent, State: store.IssuanceIntended, Handle: []byte(`{}`)}),
				tx.PutWork(store.Work{ID: "open_" + iss, GrantID: live, Agent: g.Agent, Handle: []byte(`{}`), Held: true}),
				tx.PutSweep(store.Sweep{ID: fmt.Sprintf("sweep_%04d", i), Path: store.Path{ID: g.Agent}}))
		}
		_, err := tx.Append([]byte("x"))
		return errors.Join(append(errs, err, tx.PutTask(store.Task{ID: "task"}))...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Check(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// toEnd counts what a database of ending finds of each kind.
func toEnd(t *testing.T, db *sqlite.DB) map[string]int {
	t.Helper()
	found := map[string]int{}
	if err := db.View(t.Context(), func(r store.Reader) error {
		due, err1 := r.DueWork(time.Now(), false, 10_000)
		expired, err2 := r.Expired(time.Now(), 10_000)
		ids, err3 := r.OpenIDs()
		sweeps, err4 := r.OpenSweeps()
		intents, err5 := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		found = map[string]int{"due": len(due), "expired": len(expired), "open": len(ids), "sweeps": len(sweeps), "intents": len(intents)}
		return errors.Join(err1, err2, err3, err4, err5)
	}); err != nil {
		t.Errorf("one that is damaged stops all: %v", err)
	}
	return found
}

// TestEachLostPageStopsNobodyElsesEnd zeroes each page that has rows or entries, and flips a bit of
// the length of one of them. What is not on that page is still found, to be ended.
func TestEachLostPageStopsNobodyElsesEnd(t *testing.T) {
	const n = 40
	path := ending(t, n)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tried, lossy, refused := 0, 0, 0
	for page := 1; page < len(raw)/pageSize; page++ {
		was := raw[page*pageSize:][:pageSize]
		cells := int(binary.BigEndian.Uint16(was[3:]))
		if was[0] != 0x0d && was[0] != 0x0a || cells == 0 {
			continue
		}
		for name, change := range map[string]func(p []byte){
			"zeroed": func(p []byte) { clear(p) },
			"length": func(p []byte) { p[binary.BigEndian.Uint16(p[8+2*(cells/2):])] ^= 0x40 },
		} {
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: copyOf(t, path, func(raw []byte) { change(raw[page*pageSize:][:pageSize]) }), Seal: storetest.Seal})
			if errors.Is(err, store.ErrDamaged) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			tried++
			for kind, found := range toEnd(t, db) {
				if found < n-cells-1 { // an index finds the entry after a page by way of the page
					t.Errorf("page %d of %d rows, %s: %d of %d %s", page+1, cells, name, found, n, kind)
				}
				if found < n {
					lossy++
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	// The page of the schema's version, and that of the newest record, are needed to start.
	if tried < 100 || lossy < 20 || refused > 3 {
		t.Errorf("%d damaged files, which lack %d times what ends; %d starts refused", tried, lossy, refused)
	}
}

// TestALostIndexStopsNobodysEnd zeroes the root of each index that says what is to end.
func TestALostIndexStopsNobodysEnd(t *testing.T) {
	const n = 20
	path := ending(t, n)
	for _, index := range []string{"grants_live", "grants_open", "issuances_due"} {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		var root int
		err = db.QueryRowContext(t.Context(), "SELECT rootpage FROM sqlite_schema WHERE name = ?", index).Scan(&root)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		st := open(t, copyOf(t, path, func(raw []byte) { clear(raw[(root-1)*pageSize:][:pageSize]) }), storetest.Seal)
		for kind, found := range toEnd(t, st) {
			if found != n {
				t.Errorf("%s: %d of %d %s", index, found, n, kind)
			}
		}
		if st.Damage() == nil {
			t.Errorf("%s: nothing was found", index)
		}
	}
}

// TestEachLostRowStopsNobodyElsesEnd loses a row, or its entry, as a lost write of one page does.
func TestEachLostRowStopsNobodyElsesEnd(t *testing.T) {
	const n = 4
	path := ending(t, n)
	for _, c := range []struct{ table, index, where string }{
		{"grants", "grants_live", "id LIKE 'grant_0001%'"}, {"grants", "grants_open", "id LIKE 'grant_0001%'"}, {"grants", "grants_id", "id LIKE 'grant_0001%'"},
		{"issuances", "issuances_due", "id LIKE 'iss_0001%'"}, {"issuances", "issuances_id", "id LIKE 'iss_0001%'"}, {"issuances", "issuances_id", "id LIKE 'open_iss_0001%'"},
	} {
		for name, lose := range map[string]func(t *testing.T, path, index, table, where string){"row": loseRow, "entry": loseEntry} {
			t.Run(c.index+" "+name, func(t *testing.T) {
				damaged := copyOf(t, path, func([]byte) {})
				lose(t, damaged, c.index, c.table, c.where)
				db := open(t, damaged, storetest.Seal)
				for kind, found := range toEnd(t, db) {
					if found < n-1 {
						t.Errorf("%d of %d %s", found, n, kind)
					}
				}
				if err := sqlite.CheckOnce(t.Context(), db); db.Damage() == nil {
					t.Errorf("nothing was found: %v", err)
				}
			})
		}
	}
}

// TestADamagedIssuanceIsMinted changes a byte of one: whether its grant is active is told all the same.
func TestADamagedIssuanceIsMinted(t *testing.T) {
	path := populated(t)
	change(t, path, "UPDATE issuances SET body = replace(body, 'issued', 'Issued') WHERE id = 'iss_0000'")
	db := open(t, path, storetest.Seal)
	if err := db.View(t.Context(), func(r store.Reader) error {
		minted, err := r.Minted("grant_0000")
		if !minted {
			t.Error("it is not")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// without runs statements while an index is not known.
func without(t *testing.T, path, index string, statements ...string) {
	t.Helper()
	step := func(queries ...string) { // each on a connection of its own, which reads the schema again
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		for _, q := range queries {
			if _, err := db.ExecContext(t.Context(), q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	step("CREATE TABLE known AS SELECT * FROM sqlite_schema WHERE name = '"+index+"'", "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = '"+index+"'")
	step(statements...)
	step("PRAGMA writable_schema = ON", "INSERT INTO sqlite_schema SELECT * FROM known", "DROP TABLE known", "PRAGMA wal_checkpoint(TRUNCATE)")
}

// loseRow loses a row, and leaves its entry in one index.
func loseRow(t *testing.T, path, index, table, where string) {
	t.Helper()
	without(t, path, index, "DELETE FROM "+table+" WHERE "+where)
}

// loseEntry loses the entry of a row in one index.
func loseEntry(t *testing.T, path, index, table, where string) {
	t.Helper()
	change(t, path, "CREATE TABLE away AS SELECT * FROM "+table+" WHERE "+where)
	change(t, path, "DELETE FROM "+table+" WHERE "+where)
	without(t, path, index, "INSERT INTO "+table+" SELECT * FROM away", "DROP TABLE away")
}
