package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// issuance puts an issuance of a grant with a record.
func issuance(n int, state store.IssuanceState) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Append([]byte("a"))
		id, grant := fmt.Sprintf("iss_%04d", n), fmt.Sprintf("grant_%04d", n)
		return errors.Join(err,
			tx.PutGrant(store.Grant{ID: grant, State: store.GrantRevoked}), tx.PutIssuance(store.Issuance{ID: id, GrantID: grant, State: state, Handle: []byte(`{}`)}))
	}
}

func openIn(t *testing.T, r store.Reader) (ids string) {
	t.Helper()
	open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range open {
		ids += i.ID + " "
	}
	return ids
}

// What is open is known after each transaction, inside of one, after one that failed, and to a
// start: also to one on a file in which the row that tells from where on it lies is damaged.
func TestOpenIntents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path, storetest.Seal)
	want := func(ids string) {
		t.Helper()
		if err := db.View(t.Context(), func(r store.Reader) error {
			if got := openIn(t, r); got != ids {
				t.Errorf("open: %s, want %s", got, ids)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	again := func(ids string) {
		t.Helper()
		want(ids)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, path, storetest.Seal)
		want(ids)
	}
	do := func(fns ...func(store.Tx) error) error {
		_, err := db.Update(t.Context(), func(tx store.Tx) error {
			for _, fn := range fns {
				if err := fn(tx); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	}
	again("")
	if err := do(issuance(3, store.IssuanceIntended), issuance(5, store.IssuanceIntended), issuance(4, store.IssuanceIssued)); err != nil {
		t.Fatal(err)
	}
	again("iss_0003 iss_0005 ")
	if err := do(issuance(3, store.IssuanceIssued)); err != nil { // the least of them
		t.Fatal(err)
	}
	again("iss_0005 ")
	if err := do(issuance(1, store.IssuanceIntended), func(tx store.Tx) error { // of an older grant
		if got := openIn(t, tx); got != "iss_0001 iss_0005 " {
			t.Errorf("inside of it: %s", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	again("iss_0001 iss_0005 ")
	if err := do(issuance(0, store.IssuanceIntended), issuance(5, store.IssuanceOrphaned), issuance(5, store.IssuanceIntended), issuance(1, store.IssuanceAbandoned),
		func(store.Tx) error { return errors.New("it fails after all") }); err == nil {
		t.Fatal("it did not")
	}
	again("iss_0001 iss_0005 ")
	if err := do(issuance(5, store.IssuanceIssued)); err != nil {
		t.Fatal(err)
	}
	again("iss_0001 ")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, path, "UPDATE records SET open = 'grant_0009' WHERE note IS NOT NULL")
	db = open(t, path, storetest.Seal)
	want("iss_0001 ")
	if !errors.Is(db.Damage(), store.ErrDamaged) {
		t.Errorf("damage: %v", db.Damage())
	}
}

// An issuance that is opened without a record would be forgotten by the next start.
func TestOpenedWithoutARecord(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"), storetest.Seal)
	put := func(state store.IssuanceState) error {
		_, err := db.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutIssuance(store.Issuance{ID: "i", GrantID: "g", State: state, Handle: []byte(`{}`)})
		})
		return err
	}
	if put(store.IssuanceIntended) == nil {
		t.Error("it was acknowledged")
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		_, err := r.Issuance("g", "i")
		if !errors.Is(err, store.ErrNotFound) || openIn(t, r) != "" {
			t.Errorf("it is there: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := put(store.IssuanceIssued); err != nil {
		t.Error(err)
	}
}
