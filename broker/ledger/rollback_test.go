package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

// life is one start of a broker on dir: it writes n records and stops.
func life(t *testing.T, dir string, k *ledger.Key, n int) error {
	t.Helper()
	return with(t, dir, k, func(st store.Store) error {
		a, err := ledger.OpenRollbackGuard(t.Context(), rollbackFile(dir), k, st)
		if err != nil {
			return err
		}
		if n > 0 {
			write(t, ledger.New(st, time.Now), n)
		}
		return a.Close(t.Context())
	})
}

func rollbackFile(dir string) string { return filepath.Join(dir, "ledger.key.checkpoint") }

func with(t *testing.T, dir string, k *ledger.Key, fn func(store.Store) error) error {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "x.db"), Seal: k.Seal})
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(fn(db), db.Close())
}

// drop removes the database, and puts back what saved returned.
func drop(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "x.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func save(t *testing.T, dir string) (restore func()) {
	t.Helper()
	file := filepath.Join(dir, "x.db") // a closed database is one file
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		drop(t, dir)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRollbackGuardHoldsTheLog(t *testing.T) {
	for name, tc := range map[string]struct {
		// spoil happens after three and then three more records were signed.
		spoil func(t *testing.T, dir string, k *ledger.Key, back func())
		// want is part of the refusal; empty for none.
		want string
	}{
		"nothing": {func(*testing.T, string, *ledger.Key, func()) {}, ""},
		"database lost": {func(t *testing.T, dir string, _ *ledger.Key, _ func()) { drop(t, dir) },
			"has signed 6 records, and the database holds 0"},
		"database rolled back": {func(_ *testing.T, _ string, _ *ledger.Key, back func()) { back() },
			"has signed 6 records, and the database holds 3"},
		"rolled back and grown elsewhere": {func(t *testing.T, dir string, k *ledger.Key, back func()) {
			back()
			if err := with(t, dir, k, func(st store.Store) error { write(t, ledger.New(st, time.Now), 9); return nil }); err != nil {
				t.Fatal(err)
			}
		}, "first 6 records of the database are others"},
		"file empty": {func(t *testing.T, dir string, _ *ledger.Key, _ func()) {
			if err := os.WriteFile(rollbackFile(dir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it is empty"},
		"file of another key": {func(t *testing.T, dir string, _ *ledger.Key, _ func()) {
			other := t.TempDir()
			if err := life(t, other, key(t, other), 9); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(rollbackFile(other), rollbackFile(dir)); err != nil {
				t.Fatal(err)
			}
		}, "no checkpoint of log.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := key(t, dir)
			if err := life(t, dir, k, 3); err != nil {
				t.Fatal(err)
			}
			back := save(t, dir)
			if err := life(t, dir, k, 3); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(rollbackFile(dir)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v, %v", info, err)
			}
			tc.spoil(t, dir, k, back)
			before, err := os.ReadFile(rollbackFile(dir))
			if err != nil {
				t.Fatal(err)
			}
			err = life(t, dir, k, 1)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ledger.ErrHistory) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "accept-loss") {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
			if after, err := os.ReadFile(rollbackFile(dir)); err != nil || string(after) != string(before) {
				t.Errorf("the refusal changed the file: %v", err)
			}
		})
	}
}

func TestAcceptLoss(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	if err := life(t, dir, k, 6); err != nil {
		t.Fatal(err)
	}
	accept := func() (text string, err error) {
		err = with(t, dir, k, func(st store.Store) error {
			text, err = ledger.AcceptLoss(t.Context(), rollbackFile(dir), k, st, time.Now, "the disk died")
			return err
		})
		return text, err
	}
	if _, err := accept(); err == nil || !strings.Contains(err.Error(), "no loss to accept") {
		t.Errorf("without a loss: %v", err)
	}
	drop(t, dir)
	text, err := accept()
	if err != nil || !strings.Contains(text, "the disk died; signed before: 6 records with root ") {
		t.Fatalf("%q, %v", text, err)
	}
	if err := with(t, dir, k, func(st store.Store) error {
		return st.View(t.Context(), func(r store.Reader) error {
			leaf, err := r.Record(0)
			if !strings.Contains(string(leaf), grant.LossAccepted) || !strings.Contains(string(leaf), "6 records with root") {
				t.Errorf("the first record is %s", leaf)
			}
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	if err := life(t, dir, k, 1); err != nil {
		t.Errorf("after the loss was accepted: %v", err)
	}
}

func TestOneBrokerAKey(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	if err := with(t, dir, k, func(st store.Store) error {
		a, err := ledger.OpenRollbackGuard(t.Context(), rollbackFile(dir), k, st)
		if err != nil {
			return err
		}
		if _, err := ledger.OpenRollbackGuard(t.Context(), rollbackFile(dir), k, st); !errors.Is(err, ledger.ErrKey) {
			t.Errorf("two brokers with one key: %v", err)
		}
		return a.Close(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
}

// Without the file, a lost log and a new one look alike: neither is served until
// somebody types it, not even the first time.
func TestMissingAnchorIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(dir string, k *ledger.Key) error{
		"before the first record": func(string, *ledger.Key) error { return nil },
		"with the log there":      func(dir string, k *ledger.Key) error { return life(t, dir, k, 3) },
		"with the database": func(dir string, k *ledger.Key) error {
			err := life(t, dir, k, 3)
			drop(t, dir)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := key(t, dir)
			if err := errors.Join(spoil(dir, k), os.Remove(rollbackFile(dir))); err != nil {
				t.Fatal(err)
			}
			if err := life(t, dir, k, 1); !errors.Is(err, ledger.ErrHistory) || !strings.Contains(err.Error(), "it is missing") {
				t.Errorf("got %v", err)
			}
			if err := with(t, dir, k, func(st store.Store) error {
				_, err := ledger.AcceptLoss(t.Context(), rollbackFile(dir), k, st, time.Now, "the file went")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := life(t, dir, k, 1); err != nil {
				t.Error(err)
			}
		})
	}
}

// A place of its own takes over from beside the key, and from then on it alone counts.
func TestRollbackGuardMoves(t *testing.T) {
	dir, apart := t.TempDir(), filepath.Join(t.TempDir(), "apart")
	k := key(t, dir)
	open := func(n int) error {
		return with(t, dir, k, func(st store.Store) error {
			a, err := ledger.OpenRollbackGuard(t.Context(), apart, k, st)
			if err != nil {
				return err
			}
			if n > 0 {
				write(t, ledger.New(st, time.Now), n)
			}
			return a.Close(t.Context())
		})
	}
	for n := range 3 {
		if err := open(n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(rollbackFile(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first one is still there: %v", err)
	}
	if err := os.Remove(apart); err != nil {
		t.Fatal(err)
	}
	if err := open(1); !errors.Is(err, ledger.ErrHistory) {
		t.Errorf("without it: %v", err)
	}
}

// A crash leaves the first checkpoint beside the key, after the newer one was written elsewhere. It counts
// no more: without the newer one nothing starts.
func TestRollbackGuardForgetsWhereItWas(t *testing.T) {
	dir, apart := t.TempDir(), filepath.Join(t.TempDir(), "apart")
	k := key(t, dir)
	stale, err := os.ReadFile(rollbackFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		return with(t, dir, k, func(st store.Store) error {
			a, err := ledger.OpenRollbackGuard(t.Context(), apart, k, st)
			if err != nil {
				return err
			}
			write(t, ledger.New(st, time.Now), 1)
			return a.Close(t.Context())
		})
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rollbackFile(dir), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(open(), os.Remove(apart)); err != nil {
		t.Fatal(err)
	}
	drop(t, dir)
	if err := open(); !errors.Is(err, ledger.ErrHistory) {
		t.Errorf("a lost database: %v", err)
	}
}

func TestRollbackGuardFollows(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	if err := with(t, dir, k, func(st store.Store) error {
		a, err := ledger.OpenRollbackGuard(t.Context(), rollbackFile(dir), k, st)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		followed := make(chan struct{})
		go func() { defer close(followed); a.Follow(ctx, func(err error) { t.Error(err) }) }()
		write(t, ledger.New(st, time.Now), 5)
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for ctx.Err() == nil {
			if raw, err := os.ReadFile(rollbackFile(dir)); err == nil && strings.Contains(string(raw), "\n5\n") {
				break
			}
			<-every.C
		}
		if ctx.Err() != nil {
			t.Error("the checkpoint was not written down while the broker ran")
		}
		cancel()
		<-followed
		return a.Close(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRollbackGuardThatCannotBeWrittenIsRefused(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	if err := with(t, dir, k, func(st store.Store) error {
		write(t, ledger.New(st, time.Now), 1)
		_, err := ledger.OpenRollbackGuard(t.Context(), filepath.Join(dir, "none", "c"), k, st)
		if err == nil || !strings.Contains(err.Error(), "ledger.checkpoint_file") {
			t.Errorf("got %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// One file has one name, however it is spelled: it is not taken away for one beside the key.
func TestRollbackGuardKeepsItsOwnFile(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	err := errors.Join(os.Symlink(dir, link), with(t, dir, k, func(st store.Store) error {
		write(t, ledger.New(st, time.Now), 1)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir + "//ledger.key.checkpoint", dir + "/./ledger.key.checkpoint", filepath.Join(link, "ledger.key.checkpoint")} {
		for range 2 { // open and close, and again
			err := with(t, dir, k, func(st store.Store) error {
				a, err := ledger.OpenRollbackGuard(t.Context(), path, k, st)
				if err != nil {
					return err
				}
				return a.Close(t.Context())
			})
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := os.Stat(rollbackFile(dir)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
