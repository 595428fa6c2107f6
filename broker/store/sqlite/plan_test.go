package sqlite_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// The broker asks each second for what has expired. On a store of many ended grants
// that must not go over all of them, as a list of the live ones by age does.
func TestExpiryReadsNoEndedGrants(t *testing.T) {
	db, now := open(t, filepath.Join(t.TempDir(), "x.db"), storetest.Seal), time.Now()
	if _, err := db.Update(t.Context(), func(tx store.Tx) error {
		for i := range 20_000 {
			g := store.Grant{ID: fmt.Sprintf("grant_%08d", i), TaskID: "t", State: store.GrantExpired, ExpiresAt: now, Digest: strings.Repeat("x", 500)}
			if err := tx.PutGrant(g); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	quickest := func(read func(store.Reader) ([]store.Grant, error)) time.Duration {
		least := time.Hour
		for range 5 {
			began := time.Now()
			if err := db.View(t.Context(), func(r store.Reader) error {
				gs, err := read(r)
				if len(gs) > 0 {
					t.Errorf("%d grants", len(gs))
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			least = min(least, time.Since(began))
		}
		return least
	}
	all := quickest(func(r store.Reader) ([]store.Grant, error) { return r.Grants(store.GrantFilter{Open: true}) })
	due := quickest(func(r store.Reader) ([]store.Grant, error) { return r.Expired(now, 1000) })
	if due > all/20 {
		t.Errorf("what has expired takes %v, going over all grants %v", due, all)
	}
}
