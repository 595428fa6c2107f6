package ledger_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

func key(t *testing.T, dir string) *ledger.Key {
	t.Helper()
	file := filepath.Join(dir, "ledger.key")
	if err := ledger.GenerateKey(file, "log.example.org"); err != nil {
		t.Fatal(err)
	}
	k, err := ledger.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, dir string, k *ledger.Key) (*ledger.Ledger, *sqlite.DB) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "x.db"), Seal: k.Seal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return ledger.New(db, time.Now), db
}

func write(t *testing.T, l *ledger.Ledger, n int) {
	t.Helper()
	if _, err := l.Commit(t.Context(), func(tx *ledger.Tx) error {
		for range n {
			if err := tx.Change(grant.Damaged("x")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	file := filepath.Join(dir, "ledger.key")
	if err := ledger.GenerateKey(file, "other"); !errors.Is(err, ledger.ErrKey) {
		t.Errorf("a key was overwritten: %v", err)
	}
	if k.Origin() != "log.example.org" || !strings.HasPrefix(k.VerifierKey(), "log.example.org+") {
		t.Errorf("%s %s", k.Origin(), k.VerifierKey())
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(string) error{
		"missing":          os.Remove,
		"open to others":   func(f string) error { return os.Chmod(f, 0o644) },
		"garbage":          func(f string) error { return os.WriteFile(f, []byte("PRIVATE+KEY+x"), 0o600) },
		"no verifier":      func(f string) error { return os.Remove(f + ".pub") },
		"another verifier": func(f string) error { return os.WriteFile(f+".pub", []byte(key(t, t.TempDir()).VerifierKey()), 0o600) },
	} {
		d := t.TempDir()
		key(t, d)
		f := filepath.Join(d, "ledger.key")
		if err := spoil(f); err != nil {
			t.Fatal(err)
		}
		_, err := ledger.LoadKey(f)
		if !errors.Is(err, ledger.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), string(secret)) {
			t.Errorf("%s: the error holds the key", name)
		}
	}
}

func TestAnotherKeyDoesNotOpenTheLog(t *testing.T) {
	dir := t.TempDir()
	l, db := open(t, dir, key(t, dir))
	other := key(t, t.TempDir())
	if err := other.Check(t.Context(), db); err != nil {
		t.Errorf("an empty log: %v", err)
	}
	write(t, l, 3)
	if err := other.Check(t.Context(), db); !errors.Is(err, ledger.ErrKey) {
		t.Errorf("another key: %v", err)
	}
}

func TestZeroEvidenceIsRefused(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, key(t, dir))
	if _, err := l.Conclude(t.Context(), ledger.Intent{}, nil); !errors.Is(err, ledger.ErrNotDurable) {
		t.Errorf("a zero intent: %v", err)
	}
	if (ledger.Receipt{}).Valid() || (ledger.Intent{}).Valid() {
		t.Error("a zero value is valid")
	}
}

func TestRecordThatFitsNoLeafChangesNothing(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, key(t, dir))
	err := l.Write(t.Context(), grant.Damaged(strings.Repeat("x", 1<<16)))
	if !errors.Is(err, grant.ErrRecordTooLarge) {
		t.Fatal(err)
	}
	if h, err := l.Head(t.Context()); err != nil || h.Size != 0 {
		t.Errorf("%+v %v", h, err)
	}
}

func TestProofs(t *testing.T) {
	dir := t.TempDir()
	l, db := open(t, dir, key(t, dir))
	write(t, l, 100)
	write(t, l, 200)
	if _, err := l.Prove(t.Context(), 300); !errors.Is(err, ledger.ErrNoRecord) {
		t.Errorf("past the end: %v", err)
	}
	for _, bad := range []int64{0, -1, 301} {
		if _, _, err := l.ProveGrowth(t.Context(), bad, 0); !errors.Is(err, ledger.ErrNoRecord) {
			t.Errorf("size %d: %v", bad, err)
		}
	}
	proof, _, err := l.ProveGrowth(t.Context(), 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	roots := map[int64]tlog.Hash{}
	for _, n := range []int64{100, 300} {
		roots[n] = treeHash(t, db, n)
	}
	if err := tlog.CheckTree(proof, 300, roots[300], 100, roots[100]); err != nil {
		t.Error(err)
	}
}

func TestTiles(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, key(t, dir))
	srv := httptest.NewServer(l.Handler(slog.New(slog.DiscardHandler)))
	defer srv.Close()
	get := func(path string) (int, []byte) {
		resp, err := http.Get(srv.URL + path) //nolint:noctx // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	if code, _ := get("/checkpoint"); code != http.StatusNotFound {
		t.Errorf("the checkpoint of an empty log: %d", code)
	}
	write(t, l, 300)
	for path, size := range map[string]int{
		"/tile/0/000": 256 * 32, "/tile/0/001.p/44": 44 * 32, "/tile/0/001.p/7": 7 * 32, "/tile/1/000.p/1": 32,
	} {
		if code, b := get(path); code != http.StatusOK || len(b) != size {
			t.Errorf("%s: %d, %d bytes", path, code, len(b))
		}
	}
	for _, path := range []string{
		"/tile/0/001", "/tile/0/001.p/45", "/tile/0/002.p/1", "/tile/1/000.p/2", "/tile/9/000.p/1", "/tile/0/0", "/tile/0/001.p/0",
		"/tile/data/000", "/tile/-1/000", "/tile/entries/x", "/tile/entries/entries/000", "/tile/", "/", "/tile/0/x999/x999/x999/x999/x999/x999/999",
	} {
		if code, _ := get(path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	_, b := get("/tile/entries/001.p/44")
	n := 0
	for len(b) > 2 {
		b = b[2+int(binary.BigEndian.Uint16(b)):]
		n++
	}
	if n != 44 || len(b) != 0 {
		t.Errorf("%d entries and %d bytes over", n, len(b))
	}
	resp, err := http.Post(srv.URL+"/checkpoint", "text/plain", nil) //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d, %v", resp.StatusCode, err)
	}
}

func treeHash(t *testing.T, db *sqlite.DB, n int64) (h tlog.Hash) {
	t.Helper()
	if err := db.View(t.Context(), func(r store.Reader) (err error) {
		h, err = tlog.TreeHash(n, r)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return h
}
