package sqlite_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// migrateEnv names the file that this binary migrates when it is run again.
const migrateEnv = "VALETKEY_TEST_MIGRATE"

// TestMigrationKilled ends the process with SIGKILL at points of the migration. What is
// left is the old schema whole or the new one whole.
func TestMigrationKilled(t *testing.T) {
	if path := os.Getenv(migrateEnv); path != "" {
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	const n = 5_000
	path := filepath.Join(t.TempDir(), "x.db")
	makePrivate(t, path)
	want := first(t, path, n)
	killed := 0
	for after := 5 * time.Millisecond; ; after += 5*time.Millisecond + after/4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMigrationKilled$", "-test.count=1")
		cmd.Env = append(os.Environ(), migrateEnv+"="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended
		err := cmd.Wait()
		timer.Stop()
		if err == nil {
			break
		}
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.Exited() {
			t.Fatalf("after %d kills: %v", killed, err)
		}
		killed++
	}
	if killed == 0 {
		t.Error("it was too quick to be killed")
	}
	t.Logf("killed %d times", killed)
	db := open(t, path, storetest.Seal)
	if err := db.View(t.Context(), func(r store.Reader) error {
		root, err := tlog.TreeHash(n, r)
		if root != want {
			t.Errorf("root %v, want %v", root, want)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// A database of a newer broker is not written by this one.
func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := open(t, path, storetest.Seal).Close(); err != nil {
		t.Fatal(err)
	}
	change(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}
