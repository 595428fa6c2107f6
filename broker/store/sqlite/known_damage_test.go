package sqlite_test

import (
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/broker/store/storetest"
)

// TestKnownDamageGoesByTheTable loses the entry of an open grant. Once damage is known, what is to end
// is looked for in the table.
func TestKnownDamageGoesByTheTable(t *testing.T) {
	const n = 4
	path := ending(t, n)
	loseEntry(t, path, "grants_open", "grants", "id LIKE 'grant_0001%'")
	db := open(t, path, storetest.Seal)
	if err := sqlite.CheckOnce(t.Context(), db); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	agent := ""
	if err := db.View(t.Context(), func(r store.Reader) error {
		ids, err1 := r.OpenIDs()
		agents, err2 := r.OpenAgents("", 100)
		if len(ids) != n || len(agents) != n {
			t.Errorf("%d grants of %d agents are open", len(ids), len(agents))
			return errors.Join(err1, err2)
		}
		agent = agents[1]
		under, err3 := r.OpenUnder(store.Path{ID: agent}, 10)
		if len(under) != 1 {
			t.Errorf("%d under %s", len(under), agent)
		}
		return errors.Join(err1, err2, err3)
	}); err != nil {
		t.Error(err)
	}
}
