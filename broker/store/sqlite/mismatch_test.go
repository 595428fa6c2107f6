package sqlite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// TestAnothersBodyIsDamage gives a row the body of another, with its sum, as a page does that was
// written to the wrong place. Whoever reads the row by its key, or by its index, finds the damage.
func TestAnothersBodyIsDamage(t *testing.T) {
	long := strings.Repeat("i", 200)
	for table, c := range map[string]struct {
		from, to string
		read     func(r store.Reader) error
	}{
		"grants": {"e.id LIKE 'grant_0002%'", "grants.id LIKE 'grant_0001%'", func(r store.Reader) error { _, err := r.Grant("grant_0001" + long); return err }},
		"sweeps": {"e.id = 'sweep_0002'", "sweeps.id = 'sweep_0001'", func(r store.Reader) error { _, err := r.Sweep("sweep_0001"); return err }},
		"issuances": {"e.grant_id LIKE 'grant_0002%'", "issuances.grant_id LIKE 'grant_0001%'", func(r store.Reader) error {
			_, err := r.Issuances(store.IssuanceFilter{GrantID: "grant_0001" + long})
			return err
		}},
	} {
		path := ending(t, 3)
		db := open(t, path, storetest.Seal)
		change(t, path, "UPDATE "+table+" SET body = e.body, sum = e.sum FROM "+table+" e WHERE "+c.to+" AND "+c.from)
		if err := db.View(t.Context(), c.read); !errors.Is(err, store.ErrDamaged) || db.Damage() == nil {
			t.Errorf("%s: got %v, kept %v", table, err, db.Damage())
		}
	}
}
