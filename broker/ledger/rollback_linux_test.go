package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// asNobody runs fn, for the file system, as a user who is not root.
func asNobody(t *testing.T, fn func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return fn()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nobody = 65534
	if err := unix.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Error(err)
		}
	}()
	return fn()
}

// lockedDown lets nobody write a key's folder, and everybody write the one above.
func lockedDown(t *testing.T, dir string) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{filepath.Dir(filepath.Dir(dir)): 0o755, filepath.Dir(dir): 0o777, dir: 0o555, rollbackFile(dir): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
}

// opened lets everybody write a database.
func opened(t *testing.T, db string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(db, "x.db*"))
	for _, file := range append(files, db) {
		err = errors.Join(err, os.Chmod(file, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What stands beside a key in a folder that the broker cannot write is said, and stops no start of one
// that has a newer checkpoint elsewhere. The start that has none is stopped.
func TestRollbackGuardLeavesWhatItCannotTakeAway(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	apart := filepath.Join(filepath.Dir(dir), "apart")
	lockedDown(t, dir)
	said := make(chan error, 1)
	start := func(st store.Store) error {
		return asNobody(t, func() error {
			a, err := ledger.OpenRollbackGuard(t.Context(), apart, k, st)
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(t.Context())
			stop()
			a.Follow(ctx, func(err error) { said <- err })
			return a.Close(t.Context())
		})
	}
	db := t.TempDir()
	if err := with(t, db, k, func(st store.Store) error {
		write(t, ledger.New(st, time.Now), 1)
		opened(t, db)
		if err := start(st); !errors.Is(err, os.ErrPermission) {
			t.Errorf("the first start: %v", err)
		}
		return start(st)
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-said:
		if !strings.Contains(err.Error(), "by hand") {
			t.Error(err)
		}
	default:
		t.Error("nothing was said")
	}
}

// A newer checkpoint beside the key that cannot be taken away would count again after the loss is accepted:
// that is said, and is no success.
func TestAcceptLossSaysWhatItCannotTakeAway(t *testing.T) {
	dir, db := t.TempDir(), t.TempDir()
	k := key(t, dir)
	apart := filepath.Join(filepath.Dir(dir), "apart")
	err := with(t, dir, k, func(st store.Store) error {
		for n := range 2 {
			write(t, ledger.New(st, time.Now), 3)
			a, err := ledger.OpenRollbackGuard(t.Context(), rollbackFile(dir), k, st)
			if err != nil {
				return err
			}
			older, rerr := os.ReadFile(rollbackFile(dir))
			if err := errors.Join(a.Close(t.Context()), rerr); err != nil || n > 0 {
				return err
			}
			if err := errors.Join(os.WriteFile(apart, older, 0o600), os.Chmod(apart, 0o666)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lockedDown(t, dir)
	err = with(t, db, k, func(st store.Store) error {
		write(t, ledger.New(st, time.Now), 1)
		opened(t, db)
		return asNobody(t, func() error {
			_, err := ledger.AcceptLoss(t.Context(), apart, k, st, time.Now, "restored")
			return err
		})
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("got %v", err)
	}
}
