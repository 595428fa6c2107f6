package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // the driver

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// first makes a database of schema version 1 with n records, and says the root.
func first(t *testing.T, path string, n int64) tlog.Hash {
	t.Helper()
	if err := sqlite.MigrateTo(t.Context(), path, 1); err != nil {
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
	exec("BEGIN")
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) (out []tlog.Hash, _ error) {
		for _, i := range at {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for i := range n {
		leaf := fmt.Appendf(nil, "leaf %d", i)
		more, err := tlog.StoredHashes(i, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range more {
			exec("INSERT INTO hashes VALUES (?, ?)", len(hashes), h[:])
			hashes = append(hashes, h)
		}
		exec("INSERT INTO records VALUES (?, ?)", i, leaf)
	}
	root, err := tlog.TreeHash(n, reader)
	if err != nil {
		t.Fatal(err)
	}
	exec("INSERT INTO checkpoint VALUES (0, ?, 'note')", n)
	exec(`INSERT INTO idempotency VALUES ('a', 'k', '{"Agent":"a","Key":"k","Content":"c","Result":"g","At":"2026-11-23T12:00:00.5Z"}')`)
	exec("COMMIT")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestMigrationKeepsTheLedger(t *testing.T) {
	const n = 333
	path := filepath.Join(t.TempDir(), "x.db")
	makePrivate(t, path)
	want := first(t, path, n)
	db := open(t, path, storetest.Seal)
	err := db.View(t.Context(), func(r store.Reader) error {
		if root, err := tlog.TreeHash(n, r); err != nil || root != want {
			t.Errorf("root %v, want %v: %v", root, want, err)
		}
		k, err := r.Idempotency("a", "k")
		if k.Content != "c" || k.Result != "g" || !k.At.Equal(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) {
			t.Errorf("idempotency key %+v", k)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := db.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Append([]byte("next")); return err }); err != nil || h.Size != n+1 {
		t.Errorf("the first record after: %d, %v", h.Size, err)
	}
}

func TestMigrationRefusesAHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	makePrivate(t, path)
	first(t, path, 100)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "DELETE FROM hashes WHERE idx = 70")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}
