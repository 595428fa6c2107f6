package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

const pageSize = 4096

// populated is a database with rows in every table and index, on several pages each,
// some of them overflow pages. Its write-ahead log is in the file.
func populated(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, storetest.Seal)
	now := time.Now().UTC()
	for i := range 40 {
		if _, err := db.Update(t.Context(), func(tx store.Tx) error {
			agent := fmt.Sprintf("spiffe://td/agent/%04d/%s", i, strings.Repeat("s", 200))
			task, grant, iss := fmt.Sprintf("task_%04d", i), fmt.Sprintf("grant_%04d", i), fmt.Sprintf("iss_%04d", i)
			g := store.Grant{ID: grant, TaskID: task, Agent: agent, State: store.GrantActive, ExpiresAt: now.Add(time.Hour), Digest: strings.Repeat("d", 100+i*200)}
			work := store.Work{ID: iss, GrantID: grant, Agent: agent, Handle: []byte(`{}`), NextAt: now}
			switch i % 4 {
			case 0:
				work.Held = true
			case 1:
				g.State, g.Delegate = store.GrantPending, "spiffe://td/delegate"
				g.Case = &store.Case{Envelope: strings.Repeat("e", 500), Subject: agent}
				work.Held = true
			case 2:
				g.State = store.GrantRevoked
			case 3:
				g.State, work.DoneAt = store.GrantExpired, now
			}
			errs := []error{
				tx.PutTask(store.Task{ID: task, Agent: agent, Purpose: strings.Repeat("p", 300), OpenedAt: now}), tx.PutGrant(g),
				tx.PutIssuance(store.Issuance{ID: iss, GrantID: grant, Agent: agent, State: store.IssuanceIssued, Handle: []byte(`{}`)}), tx.PutWork(work),
				tx.PutApproval(store.Approval{GrantID: grant, Person: "p", Statement: strings.Repeat("s", 300)}), tx.PutCooling(agent, now),
				tx.PutIdempotency(store.Idempotency{Agent: agent, Key: "k", Content: strings.Repeat("c", 64), Result: grant + " " + iss, At: now}),
				tx.SetFrozen(agent, strings.Repeat("w", 200), true),
				tx.PutSweep(store.Sweep{ID: fmt.Sprintf("sweep_%04d", i), Path: store.Path{ID: agent}, DoneAt: now}),
			}
			errs = append(errs, tx.PutBucket(agent, now))
			for range 8 {
				_, err := tx.Append([]byte(strings.Repeat("r", 700)))
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Check(t.Context()); err != nil {
		t.Fatalf("it is damaged from the start: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Fatal("the write-ahead log is there still")
	}
	return path
}

// dump is all that the file holds, read by another binding; empty where it cannot be.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var out strings.Builder
	for _, table := range []string{
		"tasks", "grants", "issuances", "approvals", "cooling", "idempotency", "frozen", "sweeps", "buckets", "records",
	} {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" NOT INDEXED")
		if err != nil {
			return ""
		}
		cols, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row, to := make([]any, len(cols)), make([]any, len(cols))
			for i := range row {
				to[i] = &row[i]
			}
			if err := rows.Scan(to...); err != nil {
				return ""
			}
			fmt.Fprintf(&out, "%s %v\n", table, row)
		}
		if rows.Err() != nil || rows.Close() != nil {
			return ""
		}
	}
	return out.String()
}

// copyOf copies a database, changed by change.
func copyOf(t *testing.T, path string, change func(raw []byte)) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(raw)
	to := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func pagesOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size() / pageSize)
}

// TestEachZeroedPageLatches zeroes each page of a populated file before a start. The start
// is refused, or nothing is minted, or nothing is lost; and a second start remembers.
func TestEachZeroedPageLatches(t *testing.T) {
	path := populated(t)
	want, refused, latched := dump(t, path), 0, 0
	for page := range pagesOf(t, path) {
		damaged := copyOf(t, path, func(raw []byte) { clear(raw[page*pageSize:][:pageSize]) })
		db, err := sqlite.Open(t.Context(), sqlite.Patient(sqlite.Config{Path: damaged, Seal: storetest.Seal}))
		if err != nil {
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("page %d: refused without saying that it is damaged: %v", page+1, err)
			}
			refused++
			continue
		}
		found := db.Damage()
		if err := db.Close(); err != nil {
			t.Errorf("page %d: closing: %v", page+1, err)
		}
		switch {
		case found == nil && dump(t, damaged) != want:
			t.Errorf("page %d is lost, and nothing was found", page+1)
		case found != nil:
			latched++
			if again := open(t, damaged, storetest.Seal); !errors.Is(again.Damage(), store.ErrDamaged) {
				t.Errorf("page %d: the next start does not know", page+1)
			}
		}
	}
	t.Logf("%d starts refused and %d latched of %d pages", refused, latched, pagesOf(t, path))
	if latched < 50 {
		t.Errorf("only %d latched", latched)
	}
}

// TestEachPageZeroedBelowARunningStoreLatches does the same to the file of a store that
// runs: the background's own look finds it.
func TestEachPageZeroedBelowARunningStoreLatches(t *testing.T) {
	path := populated(t)
	want := dump(t, path)
	for page := range pagesOf(t, path) {
		damaged := copyOf(t, path, func([]byte) {})
		db := open(t, damaged, storetest.Seal)
		if db.Damage() != nil {
			t.Fatal(db.Damage())
		}
		f, err := os.OpenFile(damaged, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(make([]byte, pageSize), int64(page*pageSize))
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		err = sqlite.CheckOnce(t.Context(), db)
		if db.Damage() == nil && page != 0 && dump(t, damaged) != want {
			t.Errorf("page %d is lost, and nothing was found: %v", page+1, err)
		}
		if err := db.Close(); err != nil && !errors.Is(db.Damage(), store.ErrDamaged) {
			t.Errorf("page %d: closing: %v", page+1, err)
		}
	}
}

// TestEachFlippedByteIsFound flips bytes all over the file. Whatever changes what a row,
// a record or a hash holds is found.
func TestEachFlippedByteIsFound(t *testing.T) {
	path := populated(t)
	want, changed := dump(t, path), 0
	random := rand.New(rand.NewPCG(1, 2))
	for page := 1; page < pagesOf(t, path); page++ {
		at, bit := page*pageSize+random.IntN(pageSize), byte(1)<<random.IntN(8)
		damaged := copyOf(t, path, func(raw []byte) { raw[at] ^= bit })
		got := dump(t, damaged)
		db, err := sqlite.Open(t.Context(), sqlite.Patient(sqlite.Config{Path: damaged, Seal: storetest.Seal}))
		if errors.Is(err, store.ErrDamaged) {
			continue
		}
		if err != nil {
			t.Errorf("bit %b of byte %d: %v", bit, at, err)
			continue
		}
		err = db.Check(t.Context())
		if got != want {
			changed++
			if !errors.Is(err, store.ErrDamaged) || db.Damage() == nil {
				t.Errorf("bit %b of byte %d (page %d) changes what is stored, and nothing was found: %v", bit, at, page+1, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	t.Logf("%d flips changed what is stored", changed)
	if changed < 50 {
		t.Errorf("only %d", changed)
	}
}

// A row that another one needs is missed, though every page is sound.
func TestMissingRowsAreFound(t *testing.T) {
	for name, query := range map[string]string{
		"a credential's end":   "UPDATE issuances SET work = NULL, work_sum = NULL WHERE id = 'iss_0004'",
		"a done end":           "UPDATE issuances SET work = json_set(work, '$.DoneAt', '2026-01-01T00:00:00Z') WHERE id = 'iss_0004'",
		"a grant":              "DELETE FROM grants WHERE id = 'grant_0004'",
		"a task":               "DELETE FROM tasks WHERE id = 'task_0004'",
		"an issuance":          "DELETE FROM issuances WHERE id = 'iss_0002'",
		"a live issuance":      "DELETE FROM issuances WHERE id = 'iss_0004'",
		"when an end is due":   "UPDATE issuances SET due = due + 1 WHERE id = 'iss_0002'",
		"that an end is due":   "UPDATE issuances SET due = NULL WHERE id = 'iss_0002'",
		"half of an end":       "UPDATE issuances SET work = NULL WHERE id = 'iss_0003'",
		"a record":             "DELETE FROM records WHERE idx = 7",
		"the newest record":    "DELETE FROM records WHERE idx = 319",
		"a record's text":      "UPDATE records SET data = CAST('x' AS BLOB) WHERE idx = 7",
		"some hashes":          "UPDATE records SET hashes = zeroblob(length(hashes)) WHERE idx = 7",
		"what is signed":       "UPDATE records SET note = CAST(replace(CAST(note AS TEXT), '320', '319') AS BLOB) WHERE note IS NOT NULL",
		"the signed head":      "UPDATE records SET note = NULL, sum = NULL",
		"what is open":         "UPDATE records SET open = 'grant_0001' WHERE note IS NOT NULL",
		"what was open":        "UPDATE records SET open = 'grant_0001' WHERE idx = 7",
		"the last signed":      "UPDATE records SET note = (SELECT note FROM records WHERE idx = 319), sum = (SELECT sum FROM records WHERE idx = 319) WHERE idx = 318; DELETE FROM records WHERE idx = 319",
		"a freeze's agent":     "UPDATE frozen SET agent = 'spiffe://td/other' WHERE agent LIKE '%/0004/%'",
		"a grant's life":       "UPDATE grants SET expires = expires + 1 WHERE id = 'grant_0004'",
		"a grant's state":      "UPDATE grants SET live = 0 WHERE id = 'grant_0004'",
		"what a key made":      "UPDATE idempotency SET result = 'grant_0001 iss_0001' WHERE result = 'grant_0004 iss_0004'",
		"how full a bucket is": "UPDATE buckets SET tat = 0",
	} {
		t.Run(name, func(t *testing.T) {
			path := populated(t)
			change(t, path, query)
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal})
			if errors.Is(err, store.ErrDamaged) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Check(t.Context()); !errors.Is(err, store.ErrDamaged) || db.Damage() == nil {
				t.Errorf("got %v, kept %v", err, db.Damage())
			}
			if err := db.ClearDamage(t.Context()); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("it was cleared: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The damage is gone once a person says so, and everything is sound.
func TestClearedDamage(t *testing.T) {
	path := populated(t)
	if err := os.WriteFile(path+".damaged", []byte("a page was lost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, storetest.Seal)
	if err := db.Damage(); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "a page was lost") {
		t.Fatalf("got %v", err)
	}
	if err := db.ClearDamage(context.WithoutCancel(t.Context())); err != nil || db.Damage() != nil {
		t.Errorf("%v, %v", err, db.Damage())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, path, storetest.Seal); again.Damage() != nil {
		t.Error(again.Damage())
	}
}

// What the walks go over is all that there is.
func TestWalksCoverTheSchema(t *testing.T) {
	path := populated(t)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	known := strings.Join(append(sqlite.WalkNames(), "goose_db_version"), " ") + " "
	n := 0
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if n++; !strings.Contains(known, name+" ") {
			t.Errorf("nothing looks at %s", name)
		}
	}
	if err := rows.Err(); err != nil || n < 19 {
		t.Errorf("%d tables and indexes, %v", n, err)
	}
}
