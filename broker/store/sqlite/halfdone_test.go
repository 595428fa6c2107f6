package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// SQLite ends the whole transaction where the disk is full. What a function that
// goes on all the same then writes would be kept, each row by itself: a record
// without a checkpoint keeps the broker from starting.
func TestNothingIsWrittenAfterAFailedWrite(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"), storetest.Seal)
	db.LimitPages(t, 40)
	errWrite := errors.New("the write that was too big")
	_, err := db.Update(t.Context(), func(tx store.Tx) error {
		big := store.Grant{ID: "big", Digest: string(make([]byte, 300_000))}
		if err := tx.PutGrant(big); err == nil {
			t.Error("the disk is not full")
		}
		if err := tx.PutTask(store.Task{ID: "small"}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a write after it: %v", err)
		}
		if _, err := tx.Append([]byte("a")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a record after it: %v", err)
		}
		return errWrite
	})
	if err == nil {
		t.Error("the transaction was acknowledged")
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		if _, err := r.Task("small"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("half done: %v", err)
		}
		if _, err := r.Record(0); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a record that nothing was signed over: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Append([]byte("a")); return err }); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}
