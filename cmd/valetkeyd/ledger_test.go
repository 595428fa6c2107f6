package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/ledger"
)

// A daemon whose database is gone does not begin a second history with the same
// key until somebody types that they accept it.
func TestLostDatabaseIsNotServed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	at := filepath.Join(t.TempDir(), "apart")
	elsewhere := func(c *Config) { c.Ledger.CheckpointFile = at }
	for range 2 {
		r, err := run(t, dir, elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	db := filepath.Join(dir, "valetkey.db")
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	_, err := run(t, dir, elsewhere)
	if !errors.Is(err, ledger.ErrHistory) || !strings.Contains(err.Error(), "has signed 2 records") {
		t.Fatalf("without its database: %v", err)
	}
	file := filepath.Join(dir, "c.yaml")
	text := strings.NewReplacer("/var/lib/valetkey/valetkey.db", db, "{key_file: /etc/valetkey/ledger.key}",
		fmt.Sprintf("{key_file: %s, checkpoint_file: %s}", filepath.Join(dir, "ledger.key"), at)).Replace(good)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	accept := &acceptLossCmd{Config: file, Cause: "the disk died"}
	if err := accept.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := accept.Run(t.Context()); err == nil {
		t.Error("a loss was accepted twice")
	}
	r, err := run(t, dir, elsewhere)
	if err != nil {
		t.Fatalf("after the loss was accepted: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
