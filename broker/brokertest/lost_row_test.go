package brokertest_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// without changes a stopped broker's database while an index is not known, as a lost write of one
// of its pages leaves it.
func without(t *testing.T, h *brokertest.Harness, index string, statements ...string) {
	t.Helper()
	for _, queries := range [][]string{
		{"CREATE TABLE known AS SELECT * FROM sqlite_schema WHERE name = '" + index + "'", "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = '" + index + "'"},
		statements,
		{"PRAGMA writable_schema = ON", "INSERT INTO sqlite_schema SELECT * FROM known", "DROP TABLE known"},
	} {
		db, err := sql.Open("sqlite", filepath.Join(h.Dir, "valetkey.db")) // each reads the schema again
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		for _, q := range queries {
			_, qerr := db.ExecContext(t.Context(), q)
			err = errors.Join(err, qerr)
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// loseEntry loses one grant's entry in the index by id.
func loseEntry(t *testing.T, h *brokertest.Harness, id string) {
	t.Helper()
	row := fmt.Sprintf("SELECT * FROM grants NOT INDEXED WHERE id = '%s'", id)
	without(t, h, "none", "CREATE TABLE away AS "+row, "DELETE FROM grants WHERE id = '"+id+"'")
	without(t, h, "grants_id", "INSERT INTO grants SELECT * FROM away", "DROP TABLE away")
}

func records(h *brokertest.Harness, kind, about string) (n int) {
	for _, r := range h.Records() {
		if strings.Contains(r, `"`+kind+`"`) && strings.Contains(r, about) {
			n++
		}
	}
	return n
}

// A grant that the index by id has lost ends once at most, and the other ends.
func TestAGrantLostFromItsIndex(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*testing.T, *brokertest.Harness)
		kind string
	}{
		"freeze": {func(t *testing.T, h *brokertest.Harness) {
			if _, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain, Frozen: true, Cause: "incident"}); err != nil {
				t.Error(err)
			}
		}, grant.GrantRevoked},
		"expiry": {func(_ *testing.T, h *brokertest.Harness) { h.Clock.Add(20 * time.Minute) }, grant.GrantExpired},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			lost, other := granted(t, h, domain+"/agent/alice/s1"), granted(t, h, domain+"/agent/bob/s1")
			h.Stop()
			loseEntry(t, h, lost)
			h.Start()
			if !errors.Is(h.Store.Damage(), store.ErrDamaged) {
				t.Errorf("damage: %v", h.Store.Damage())
			}
			c.end(t, h)
			brokertest.Eventually(t, "the other has ended", func() bool { return records(h, c.kind, other) == 1 })
			if n := records(h, c.kind, lost); n > 1 {
				t.Errorf("%d ends of the lost one are on the record", n)
			}
		})
	}
}

// Of two intents that a crash left open one is lost. The broker starts, and closes the other.
func TestALostIntentStopsNoStart(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	for _, agent := range []string{"/agent/alice/s1", "/agent/bob/s1"} {
		c := h.AgentClient(domain + agent)
		task := openTask(t, c, "task-key-1")
		f.after.Store(true)
		if _, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1")); err == nil {
			t.Fatal("the intent is not left open")
		}
		f.after.Store(false)
	}
	var open []store.Issuance
	if err := h.Store.View(t.Context(), func(r store.Reader) (err error) {
		open, err = r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		return err
	}); err != nil || len(open) != 2 {
		t.Fatalf("%d open, %v", len(open), err)
	}
	h.Stop()
	without(t, h, "issuances_id", "DELETE FROM issuances WHERE id = '"+open[0].ID+"'")
	h.Start()
	brokertest.Eventually(t, "the other is closed", func() bool { return records(h, "issuance.orphaned", open[1].ID) == 1 })
	if !errors.Is(h.Store.Damage(), store.ErrDamaged) {
		t.Errorf("damage: %v", h.Store.Damage())
	}
}
