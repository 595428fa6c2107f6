package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// The second write of a grant, and of an issuance, goes to the row's own page and to the
// one index that it changes: what is written is what a commit costs.
func TestRewrittenRowsLeaveIndexesAlone(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "x.db"), time.Now()
	db := open(t, path, storetest.Seal)
	const frame = 24 + pageSize
	wrote := func(fn func(store.Tx) error) int64 {
		t.Helper()
		size := func() int64 {
			info, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		before := size()
		if _, err := db.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
		return (size() - before) / frame
	}
	g := store.Grant{ID: "g", TaskID: "t", Agent: "spiffe://td/a", Delegate: "spiffe://td/d", State: store.GrantCleared, ExpiresAt: now}
	i := store.Issuance{ID: "i", GrantID: "g", State: store.IssuanceIntended, Handle: []byte(`{}`)}
	wrote(func(tx store.Tx) error {
		_, err := tx.Append([]byte("a"))
		return errors.Join(err, tx.PutTask(store.Task{ID: "t"}), tx.PutGrant(g), tx.PutIssuance(i), tx.PutWork(store.Work{ID: "i", GrantID: "g", Held: true, Handle: []byte(`{}`)}))
	})
	g.State, i.State = store.GrantActive, store.IssuanceIssued
	if n := wrote(func(tx store.Tx) error { return tx.PutGrant(g) }); n != 1 {
		t.Errorf("a grant that became active wrote %d pages", n)
	}
	if n := wrote(func(tx store.Tx) error { return tx.PutIssuance(i) }); n != 1 {
		t.Errorf("an issuance that was concluded wrote %d pages", n)
	}
	// And a change of columns is in every index.
	g.State, g.Agent, g.TaskID, g.Delegate = store.GrantPending, "spiffe://td/b", "t2", ""
	g.Case = &store.Case{Subject: "k"}
	wrote(func(tx store.Tx) error {
		g2 := g
		g2.ID = "g2"
		return errors.Join(tx.PutTask(store.Task{ID: "t2"}), tx.PutGrant(g), tx.PutGrant(g2), tx.PutIssuance(i))
	})
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.View(t.Context(), func(r store.Reader) error {
		pending, err := r.Grants(store.GrantFilter{Subject: "k", Pending: true})
		moved, merr := r.Grants(store.GrantFilter{TaskID: "t2", Agent: "spiffe://td/b", Open: true})
		left, lerr := r.Grants(store.GrantFilter{TaskID: "t", Open: true})
		if len(pending) != 2 || len(moved) != 2 || len(left) != 0 {
			t.Errorf("%d wait, %d moved, %d stayed", len(pending), len(moved), len(left))
		}
		return errors.Join(err, merr, lerr)
	}); err != nil {
		t.Error(err)
	}
}
