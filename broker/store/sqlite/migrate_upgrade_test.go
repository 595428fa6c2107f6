package sqlite_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// version5 makes a database as the broker left it at version 5 of the schema: a live grant, one
// that waits, and one whose end is due, each with its issuance.
func version5(t *testing.T, path string, now time.Time) {
	t.Helper()
	makePrivate(t, path)
	first(t, path, 333)
	if err := sqlite.MigrateTo(t.Context(), path, 5); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), q, args...); err != nil {
			t.Fatal(err)
		}
	}
	body := func(v any) (string, int64) {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw), sqlite.SumOf(raw)
	}
	exec("BEGIN")
	for i, state := range []store.GrantState{store.GrantActive, store.GrantPending, store.GrantRevoked} {
		task, sum := body(store.Task{ID: fmt.Sprint("t", i), Agent: "a", OpenedAt: now})
		exec("INSERT INTO tasks VALUES (?, ?, ?)", fmt.Sprint("t", i), task, sum)
		g := store.Grant{ID: fmt.Sprint("g", i), TaskID: fmt.Sprint("t", i), Agent: "a", State: state, ExpiresAt: now.Add(time.Hour)}
		work := store.Work{ID: fmt.Sprint("i", i), GrantID: g.ID, Agent: "a", Handle: []byte(`{}`), Held: state.Open(), NextAt: now}
		var waiter, due any
		if state == store.GrantPending {
			g.Case, waiter = &store.Case{Subject: "k"}, "k"
		}
		if state == store.GrantRevoked {
			g.EndedAt, due = now, now.UnixNano()
		}
		row, sum := body(g)
		exec("INSERT INTO grants (id, task, agent, live, waiter, expires, body, sum) VALUES (?, ?, 'a', ?, ?, ?, ?, ?)", g.ID, g.TaskID, state.Open(), waiter, g.ExpiresAt.UnixNano(), row, sum)
		iss := store.Issuance{ID: work.ID, GrantID: g.ID, Agent: "a", State: store.IssuanceIssued, Handle: []byte(`{}`), Index: int64(i)}
		if state == store.GrantPending {
			iss.State = store.IssuanceIntended
		}
		row, sum = body(iss)
		exec("INSERT INTO issuances (id, grant_id, state, body, sum) VALUES (?, ?, ?, ?, ?)", work.ID, g.ID, string(iss.State), row, sum)
		row, sum = body(work)
		exec("INSERT INTO work (id, due, body, sum) VALUES (?, ?, ?, ?)", work.ID, due, row, sum)
	}
	exec("COMMIT")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store of the version before is brought up to date, and has all that it had.
func TestUpgradeFromVersion5(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "x.db"), time.Now().UTC()
	version5(t, path, now)
	db := open(t, path, storetest.Seal)
	if err := errors.Join(db.Damage(), db.Check(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		for i, want := range []store.GrantState{store.GrantActive, store.GrantPending, store.GrantRevoked} {
			g, err := r.Grant(fmt.Sprint("g", i))
			iss, ierr := r.Issuance(g.ID, fmt.Sprint("i", i))
			work, werr := r.Work(g.ID, fmt.Sprint("i", i))
			if err := errors.Join(err, ierr, werr); err != nil || g.State != want || iss.GrantID != g.ID || work.Held != want.Open() {
				t.Errorf("%v: grant %+v, issuance %+v, work %+v", err, g, iss, work)
			}
		}
		for want, f := range map[string]store.GrantFilter{
			"[g2 g1 g0]": {Agent: "a"}, "[g1 g0]": {Agent: "a", Open: true}, "[g1]": {Subject: "k", Pending: true}, "[g0]": {TaskID: "t0", Agent: "a", Open: true},
		} {
			gs, err := r.Grants(f)
			var ids []string
			for _, g := range gs {
				ids = append(ids, g.ID)
			}
			if fmt.Sprint(ids) != want {
				t.Errorf("grants %+v: %v, %v, want %s", f, ids, err, want)
			}
		}
		open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		if err != nil || len(open) != 1 || open[0].ID != "i1" {
			t.Errorf("open %+v, %v", open, err)
		}
		due, err := r.DueWork(now, false, 10)
		if len(due) != 1 || due[0].ID != "i2" {
			t.Errorf("due %+v", due)
		}
		h, herr := r.Head()
		if h.Size != 333 || string(h.Checkpoint) != "note" {
			t.Errorf("head %+v", h)
		}
		_, perr := tlog.ProveRecord(333, 7, r)
		return errors.Join(err, herr, perr)
	}); err != nil {
		t.Fatal(err)
	}
}

// What is damaged is not brought up to date: what tells of it would be lost on the way. The file stays
// as it was, byte for byte, and so does one that was found damaged before.
func TestUpgradeLosesNothing(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"the issuance of a live grant": changed("DELETE FROM issuances WHERE id = 'i0'"),
		"the issuance of an end":       changed("DELETE FROM issuances WHERE id = 'i2'"),
		"the work of a live grant":     changed("DELETE FROM work WHERE id = 'i0'"),
		"the work of what is intended": changed("DELETE FROM work WHERE id = 'i1'"),
		"an end that is in its index":  unindexed("work_due", "DELETE FROM work WHERE id = 'i2'"),
		"a grant that is in its index": unindexed("grants_open", "UPDATE grants SET live = 0 WHERE id = 'g0'"),
		"a grant":                      changed("DELETE FROM grants WHERE id = 'g2'"),
		"a task":                       changed("DELETE FROM tasks WHERE id = 't0'"),
		"a byte of a row":              changed("UPDATE work SET body = replace(body, '\"Agent\":\"a\"', '\"Agent\":\"b\"') WHERE id = 'i2'"),
		"a record":                     changed("DELETE FROM records WHERE idx = 100"),
		"a record that is another":     changed("UPDATE records SET data = CAST('x' AS BLOB) WHERE idx = 100"),
		"a record before the first":    changed("INSERT INTO records VALUES (-7, x'00')"),
		"the newest record":            changed("DELETE FROM records WHERE idx = 332"),
		"hashes":                       changed("DELETE FROM hash_chunks WHERE chunk = 3"),
		"the last hash":                changed("UPDATE hash_chunks SET data = substr(data, 1, length(data) - 32) WHERE chunk = (SELECT max(chunk) FROM hash_chunks)"),
		"a hash of what is not there":  changed("UPDATE hash_chunks SET data = CAST(data || zeroblob(32) AS BLOB) WHERE chunk = (SELECT max(chunk) FROM hash_chunks)"),
		"more hashes than are there":   changed("INSERT INTO hash_chunks VALUES (1000, zeroblob(2048))"),
		"what is signed over them":     changed("DELETE FROM checkpoint"),
		"what was found before and is not seen": func(t *testing.T, path string) {
			if err := os.WriteFile(path+".damaged", []byte("a page was lost\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			version5(t, path, time.Now())
			damage(t, path)
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // it is refused again, too
				_, err = sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal})
				if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "left at schema 5") {
					t.Fatalf("got %v", err)
				}
			}
			if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, was) {
				t.Errorf("it is not as it was: %v", err)
			}
			if v, err := sqlite.CheckOlder(t.Context(), path); v != 5 || !errors.Is(err, store.ErrDamaged) {
				t.Errorf("looking at schema %d finds %v", v, err)
			}
		})
	}
}

// changed damages a file by a statement.
func changed(query string) func(*testing.T, string) {
	return func(t *testing.T, path string) { change(t, path, query) }
}

// unindexed damages a file by a statement that its index has not come to know of, as where the
// write of a page was lost.
func unindexed(index, query string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		change(t, path, "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = '"+index+"'")
		change(t, path, "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = '"+index+"'")
		change(t, path, query)
		change(t, path, "PRAGMA writable_schema = 1; INSERT INTO sqlite_schema SELECT * FROM kept")
	}
}

// A look at an older store leaves its schema, and has nothing to say of one that is not older.
func TestCheckOlderLeavesTheSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if v, err := sqlite.CheckOlder(t.Context(), path); v != 0 || err != nil {
		t.Errorf("of a file that is not there it says %d, %v", v, err)
	}
	version5(t, path, time.Now())
	for range 2 {
		if v, err := sqlite.CheckOlder(t.Context(), path); v != 5 || err != nil {
			t.Fatalf("of schema 5 it says %d, %v", v, err)
		}
	}
	db := open(t, path, storetest.Seal)
	if _, err := sqlite.CheckOlder(t.Context(), path); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("beside a broker it says %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := sqlite.CheckOlder(t.Context(), path); v != 0 || err != nil {
		t.Errorf("of the newest schema it says %d, %v", v, err)
	}
}

// A row that only a partial index knows of is found in a store of today, too: SQLite's own check does
// not count what such an index has.
func TestCheckCountsPartialIndexes(t *testing.T) {
	path := populated(t)
	unindexed("issuances_due", "UPDATE issuances SET due = NULL, work = NULL, work_sum = NULL WHERE due IS NOT NULL")(t, path)
	change(t, path, "DROP TABLE kept")
	db := open(t, path, storetest.Seal)
	if err := db.Check(t.Context()); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// An upgrade that was cut off between two versions is gone on with, and damage is found there.
func TestUpgradeFromBetween(t *testing.T) {
	for version := int64(1); version < 9; version++ {
		for query, sound := range map[string]bool{"": true, "DELETE FROM issuances WHERE id = 'i2'": version >= 8, "UPDATE grants SET sum = 1 WHERE id = 'g0'": version < 5} {
			path := filepath.Join(t.TempDir(), "x.db")
			if version < 5 {
				makePrivate(t, path)
				first(t, path, 1100)
				if err := sqlite.MigrateTo(t.Context(), path, version); err != nil {
					t.Fatal(err)
				}
				change(t, path, "INSERT INTO work VALUES ('w', NULL, '{}')")
				if query != "" {
					query, sound = "UPDATE work SET due = 1", false
				}
			} else {
				version5(t, path, time.Now())
			}
			if err := sqlite.MigrateTo(t.Context(), path, version); err != nil {
				t.Fatal(err)
			}
			if query != "" {
				change(t, path, query)
			}
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal})
			if sound != (err == nil) || !sound && !errors.Is(err, store.ErrDamaged) {
				t.Errorf("from %d after %q: %v", version, query, err)
			}
			if err == nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
