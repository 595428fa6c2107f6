package sqlite

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

// TestFreezesInOneBatch has ops of one batch change freezes and look, or fail after it: each
// op sees what is so where it runs.
func TestFreezesInOneBatch(t *testing.T) {
	freeze := func(on bool) func(store.Tx) error {
		return func(x store.Tx) error { return x.SetFrozen("a", "", on) }
	}
	var seen []bool
	look := func(x store.Tx) error {
		_, frozen, err := x.Frozen("a")
		seen = append(seen, frozen)
		return err
	}
	then := func(fns ...func(store.Tx) error) func(store.Tx) error {
		return func(x store.Tx) error {
			for _, fn := range fns {
				if err := fn(x); err != nil {
					return err
				}
			}
			return nil
		}
	}
	fail := func(store.Tx) error { return errors.New("it fails after all") }
	for name, c := range map[string]struct {
		before bool
		batch  []func(store.Tx) error
		want   []bool
	}{
		"an unfreeze that looks, and fails":     {true, []func(store.Tx) error{then(freeze(false), look, fail), look}, []bool{false, true}},
		"an unfreeze that fails, then a look":   {true, []func(store.Tx) error{then(freeze(false), fail), look, look}, []bool{true, true}},
		"a freeze that looks, and fails":        {false, []func(store.Tx) error{look, then(freeze(true), look, fail), look}, []bool{false, true, false}},
		"a freeze after a look":                 {false, []func(store.Tx) error{look, freeze(true), look}, []bool{false, true}},
		"an unfreeze after a look":              {true, []func(store.Tx) error{look, freeze(false), look}, []bool{true, false}},
		"an unfreeze, and a freeze that stands": {true, []func(store.Tx) error{freeze(false), look, freeze(true), look}, []bool{false, true}},
	} {
		db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x.db"), Seal: func(tlog.Tree) ([]byte, error) { return []byte("sealed"), nil }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Update(t.Context(), freeze(c.before)); err != nil {
			t.Fatal(err)
		}
		if seen = nil; !batchOf(t, db, c.batch, c.want, &seen) {
			t.Errorf("%s: seen %v, want %v", name, seen, c.want)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// batchOf runs fns as one batch: an op holds the writer until all of them are in the queue.
func batchOf(t *testing.T, db *DB, fns []func(store.Tx) error, want []bool, seen *[]bool) bool {
	t.Helper()
	var ops []*op
	for _, fn := range fns {
		ops = append(ops, &op{fn: fn, done: make(chan struct{})})
	}
	hold, held := make(chan struct{}), make(chan struct{})
	first := &op{fn: func(store.Tx) error { close(held); <-hold; return nil }, done: make(chan struct{})}
	db.ops <- first
	<-held
	for _, o := range ops {
		db.ops <- o
	}
	close(hold)
	for _, o := range append(ops, first) {
		<-o.done
	}
	return slices.Equal(*seen, want)
}
