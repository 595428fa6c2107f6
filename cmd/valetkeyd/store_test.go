package main

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// A check of an older store looks and upgrades nothing: there would be no way back.
func TestStoreCheckUpgradesNothing(t *testing.T) {
	dir := t.TempDir()
	path, key, config := filepath.Join(dir, "valetkey.db"), filepath.Join(dir, "ledger.key"), filepath.Join(dir, "c.yaml")
	if err := ledger.GenerateKey(key, "valetkey.dev/log"); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/var/lib/valetkey/valetkey.db", path, "/etc/valetkey/ledger.key", key).Replace(good)
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	check := &storeCheckCmd{Config: config}
	if err := errors.Join(os.Remove(path), check.Run(t.Context())); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("a lost database: %v", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600) // it was not made
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	schema := `CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);`
	migration, err := os.ReadFile("../../broker/store/sqlite/migrations/00001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, _, _ := strings.Cut(string(migration), "-- +goose Down")
	if _, err := db.ExecContext(t.Context(), schema+up); err != nil {
		t.Fatal(err)
	}
	if err := check.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO work VALUES ('iss_1', 1, '{}')"); err != nil {
		t.Fatal(err)
	}
	if err := check.Run(t.Context()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "restore the newest copy") {
		t.Errorf("a revocation of no issuance: %v", err)
	}
	version := 0
	if err := db.QueryRowContext(t.Context(), "SELECT max(version_id) FROM goose_db_version").Scan(&version); err != nil || version != 1 {
		t.Errorf("schema %d: %v", version, err)
	}
}
