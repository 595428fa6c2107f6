package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

func open(t *testing.T, path string, seal store.SealFunc) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: seal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		path := filepath.Join(t.TempDir(), "state", "odd name?#%.db")
		return open(t, path, storetest.Seal), func() store.Store { return open(t, path, storetest.Seal) }
	})
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "x.db")
	open(t, path, storetest.Seal)
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

func TestUnsealedHeadIsNotKept(t *testing.T) {
	errSeal := errors.New("no key")
	fail := true
	db := open(t, filepath.Join(t.TempDir(), "x.db"), func(tr tlog.Tree) ([]byte, error) {
		if fail {
			return nil, errSeal
		}
		return storetest.Seal(tr)
	})
	add := func() error {
		_, err := db.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.Append([]byte("a"))
			return err
		})
		return err
	}
	if err := add(); !errors.Is(err, errSeal) || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	fail = false
	if err := add(); err != nil {
		t.Fatal(err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		h, err := r.Head()
		if h.Size != 1 {
			t.Errorf("size %d", h.Size)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, []byte("this is no database, and long enough to be looked at as one........................................"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}

// TestFullDisk stands for every write that fails: max_page_count makes SQLite
// answer SQLITE_FULL as a full disk does.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, storetest.Seal)
	db.LimitPages(t, 40)
	var err error
	acknowledged := 0
	for range 1000 {
		if _, err = db.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.Append(make([]byte, 4000))
			return err
		}); err != nil {
			break
		}
		acknowledged++
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a full disk: %v", err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		h, err := r.Head()
		if h.Size != int64(acknowledged) {
			t.Errorf("size %d after %d acknowledged", h.Size, acknowledged)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db.LimitPages(t, 100_000)
	if _, err := db.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Append([]byte("a")); return err }); err != nil {
		t.Errorf("after there is room again: %v", err)
	}
}

func TestOneBrokerAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	if err := errors.Join(os.Symlink(path, filepath.Join(dir, "link.db")), os.Symlink(dir, filepath.Join(dir, "folder"))); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, storetest.Seal)
	for _, name := range []string{"x.db", "link.db", "folder/x.db", "folder/link.db"} {
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, name), Seal: storetest.Seal}); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("a second broker by the name %s: %v", name, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, storetest.Seal)
}

func makePrivate(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	makePrivate(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal leaves no lock behind
		if _, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Seal: storetest.Seal}); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "chmod 600") {
			t.Fatalf("got %v", err)
		}
	}
}
