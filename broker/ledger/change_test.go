package ledger_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// A Change that package grant did not make is none.
func TestNoChangeWithoutARecord(t *testing.T) {
	l, db := open(t, t.TempDir(), key(t, t.TempDir()))
	if err := l.Write(t.Context(), grant.Change{}); err == nil || !strings.Contains(err.Error(), "without its record") {
		t.Errorf("got %v", err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		h, err := r.Head()
		if h.Size != 0 {
			t.Errorf("kept: %d records", h.Size)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[grant.Change]().Fields() {
		if f.IsExported() {
			t.Errorf("anybody can fill %s", f.Name)
		}
	}
}

// What writes rows of state is not within reach beside Change. A bucket is none.
func TestTxHasNoOtherWayToChangeState(t *testing.T) {
	l, _ := open(t, t.TempDir(), key(t, t.TempDir()))
	if _, err := l.Commit(t.Context(), func(tx *ledger.Tx) error {
		if _, ok := tx.Reader.(store.Tx); ok {
			t.Error("its reader writes")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for m := range reflect.TypeFor[*ledger.Tx]().Methods() {
		if strings.HasPrefix(m.Name, "Put") && m.Name != "PutBucket" || strings.HasPrefix(m.Name, "Set") || m.Name == "Append" {
			t.Errorf("Tx.%s writes without a record", m.Name)
		}
	}
}
