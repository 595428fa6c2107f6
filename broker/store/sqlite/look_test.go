package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// TestALookLeavesALogBe looks at a file beside which a crash left its write-ahead log. A log that does
// not belong to the file would be lost for the one that it does belong to.
func TestALookLeavesALogBe(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "x.db"), filepath.Join(t.TempDir(), "x.db")
	db := open(t, from, storetest.Seal)
	if _, err := db.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Append([]byte("x")); return err }); err != nil {
		t.Fatal(err)
	}
	was := map[string][]byte{}
	for _, end := range []string{"", "-wal"} {
		raw, err := os.ReadFile(from + end)
		if err != nil {
			t.Fatal(err)
		}
		was[end] = raw
		if err := os.WriteFile(to+end, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(was["-wal"]) == 0 {
		t.Fatal("there is no log")
	}
	if v, err := sqlite.CheckOlder(t.Context(), to); v != 0 || err != nil {
		t.Fatalf("it says %d, %v", v, err)
	}
	for end, raw := range was {
		if now, err := os.ReadFile(to + end); err != nil || !bytes.Equal(now, raw) {
			t.Errorf("x.db%s has changed: %v", end, err)
		}
	}
}

// TestAFirstStartThatWasKilledIsNone has the rollback journal of a file's first transaction, from before it had a log,
// beside it: that was never committed, and the next start begins again.
func TestAFirstStartThatWasKilledIsNone(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "x.db"), filepath.Join(t.TempDir(), "x.db")
	half, err := sql.Open("sqlite", from+"?_pragma=journal_mode(DELETE)&_pragma=cache_size(2)")
	if err != nil {
		t.Fatal(err)
	}
	half.SetMaxOpenConns(1)
	for _, q := range []string{"BEGIN", "CREATE TABLE x (y)", "INSERT INTO x SELECT zeroblob(1000) FROM json_each(printf('[0%s]', replace(hex(zeroblob(250)), '00', ',0')))"} {
		if _, err := half.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []string{"", "-journal"} { // as a crash leaves it
		raw, err := os.ReadFile(from + end)
		if err == nil && len(raw) == 0 {
			err = errors.New("nothing was written yet")
		}
		if err := errors.Join(err, os.WriteFile(to+end, raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, to, storetest.Seal)
}

// TestAHugeRecordIsDamage has a record so far behind the others that no tree can have it.
func TestAHugeRecordIsDamage(t *testing.T) {
	path := ending(t, 1)
	for _, idx := range []int64{math.MaxInt64, 1 << 62} {
		to := copyOf(t, path, func([]byte) {})
		change(t, to, fmt.Sprintf("INSERT INTO records (idx, hashes, data) VALUES (%d, x'00', x'00')", idx))
		opened := make(chan error, 1)
		go func() {
			_, err := sqlite.Open(t.Context(), sqlite.Config{Path: to, Seal: storetest.Seal})
			opened <- err
		}()
		select {
		case err := <-opened:
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the start does not end")
		}
	}
}

// TestOldSchemasAreLookedAtWhole damages schemas from before rows had sums. The upgrade does not begin.
func TestOldSchemasAreLookedAtWhole(t *testing.T) {
	for name, c := range map[string]struct {
		version int64
		query   string
	}{
		"a record":         {1, "UPDATE records SET data = CAST('x' AS BLOB) WHERE idx = 7"},
		"a hash":           {1, "UPDATE hashes SET hash = zeroblob(32) WHERE idx = 7"},
		"the newest":       {1, "DELETE FROM records WHERE idx = 99"},
		"a body":           {1, `INSERT INTO tasks VALUES ('t', '{"ID":')`},
		"a body, later":    {4, `INSERT INTO sweeps VALUES ('s', 1, '{"ID":')`},
		"a lost grant":     {2, "INSERT INTO issuances VALUES ('i', 'g', 'issued', '{}')"},
		"a lost task":      {4, "INSERT INTO grants (id, task, agent, live, expires, body) VALUES ('g', 't', 'a', 1, 1, '{}')"},
		"a lost intention": {1, "INSERT INTO issuances VALUES ('i', 'g', 'intended', '{}')"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			makePrivate(t, path)
			first(t, path, 100)
			if err := sqlite.MigrateTo(t.Context(), path, c.version); err != nil {
				t.Fatal(err)
			}
			if v, err := sqlite.CheckOlder(t.Context(), path); v != c.version || err != nil {
				t.Fatalf("before the damage: schema %d, %v", v, err)
			}
			change(t, path, c.query)
			if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal}); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "as it is") {
				t.Errorf("got %v", err)
			}
			if v, err := sqlite.CheckOlder(t.Context(), path); v != c.version || !errors.Is(err, store.ErrDamaged) {
				t.Errorf("schema %d, %v", v, err)
			}
		})
	}
}
