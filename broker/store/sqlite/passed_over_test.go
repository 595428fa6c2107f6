package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// TestDamagedSweepStopsNoOther damages one order of two: the other is open still, and the damage latches.
func TestDamagedSweepStopsNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, storetest.Seal)
	if _, err := db.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.PutSweep(store.Sweep{ID: "s0", Owner: "alice"}), tx.PutSweep(store.Sweep{ID: "s1", Owner: "bob"}))
	}); err != nil {
		t.Fatal(err)
	}
	change(t, path, "UPDATE sweeps SET body = replace(body, 'alice', 'Alice') WHERE id = 's0'")
	var left []store.Sweep
	err := db.View(t.Context(), func(r store.Reader) (err error) {
		left, err = r.OpenSweeps()
		return err
	})
	if err != nil || len(left) != 1 || left[0].ID != "s1" {
		t.Errorf("open: %v, %v", left, err)
	}
	if !errors.Is(db.Damage(), store.ErrDamaged) {
		t.Errorf("damage: %v", db.Damage())
	}
}

// TestDamagedWorkStopsNobodyElses damages one revocation of three: the other two are due still, and the damage latches.
func TestDamagedWorkStopsNobodyElses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, storetest.Seal)
	now := time.Now()
	if _, err := db.Update(t.Context(), func(tx store.Tx) error {
		var errs []error
		for i := range 3 {
			id := fmt.Sprintf("w%d", i)
			errs = append(errs, tx.PutIssuance(store.Issuance{ID: id, GrantID: "g", State: store.IssuanceIssued, Handle: []byte(`{}`)}), tx.PutWork(store.Work{ID: id, GrantID: "g", Handle: []byte(`{}`), NextAt: now.Add(time.Duration(i)), Cause: "released"}))
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatal(err)
	}
	change(t, path, "UPDATE issuances SET work = replace(work, 'released', 'Released') WHERE id = 'w0'")
	var due []store.Work
	err := db.View(t.Context(), func(r store.Reader) (err error) {
		due, err = r.DueWork(now.Add(time.Second), false, 2)
		return err
	})
	if err != nil || len(due) != 2 || due[0].ID != "w1" || due[1].ID != "w2" {
		t.Errorf("due: %v, %v", due, err)
	}
	if !errors.Is(db.Damage(), store.ErrDamaged) {
		t.Errorf("damage: %v", db.Damage())
	}
}
