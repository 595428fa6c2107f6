package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

// TestVerifyTheBrokersOwnLedger holds the verifier against what a broker
// writes: its database, while it is open, and its log over HTTP.
func TestVerifyTheBrokersOwnLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	keyFile, dbFile, saved := filepath.Join(dir, "..", "ledger.key"), filepath.Join(dir, "valetkey.db"), filepath.Join(dir, "saved")
	if err := ledger.GenerateKey(keyFile, "valetkey.dev/log"); err != nil {
		t.Fatal(err)
	}
	key, err := ledger.LoadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), sqlite.Config{Path: dbFile, Seal: key.Seal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	log := ledger.New(st, time.Now)
	write := func(n int) {
		t.Helper()
		for i := range n {
			if _, err := st.Update(t.Context(), func(tx store.Tx) error {
				_, err := tx.Append(fmt.Appendf(nil, `{"task_id":"task_%d","time":"2026-01-01T00:00:00Z","type":"task.opened","v":1}`, i))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	srv := httptest.NewServer(log.Handler(slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	verify := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"ledger", "verify", "--key", keyFile + ".pub"}, args...), &out, &out, nil)
		return code, out.String()
	}
	write(270)
	for _, name := range []string{srv.URL, dbFile, dir} {
		if code, out := verify(name); code != exitOK || !strings.Contains(out, "270 from record 0") {
			t.Errorf("%s: exit %d, %s", name, code, out)
		}
	}
	if code, out := verify(srv.URL, "--checkpoint", saved); code != exitOK {
		t.Errorf("saving: exit %d, %s", code, out)
	}
	write(5)
	if code, out := verify(dbFile, "--checkpoint", saved); code != exitOK || !strings.Contains(out, "5 from record 270") {
		t.Errorf("resuming: exit %d, %s", code, out)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, dbFile, `UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'task_7"', 'task_8"') AS BLOB) WHERE idx = 7`)
	if code, out := verify(dbFile); code != exitVerification || !strings.Contains(out, "record 7:") {
		t.Errorf("tampered: exit %d, %s", code, out)
	}
}

func tamper(t *testing.T, name, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	res, err := db.Exec(query)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("changed %d rows (%v)", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
