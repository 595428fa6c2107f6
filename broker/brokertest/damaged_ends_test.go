package brokertest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// sqlOn changes a stopped broker's database.
func sqlOn(t *testing.T, h *brokertest.Harness, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(h.Dir, "valetkey.db"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := db.ExecContext(t.Context(), query, args...)
	if err == nil {
		if n, _ := res.RowsAffected(); n == 0 {
			t.Errorf("%s changes nothing", query)
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// zeroed clears the first page of a stopped broker's table.
func zeroed(t *testing.T, h *brokertest.Harness, table string) {
	t.Helper()
	path := filepath.Join(h.Dir, "valetkey.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	var page int
	err = db.QueryRowContext(t.Context(), "SELECT rootpage FROM sqlite_schema WHERE name = ?", table).Scan(&page)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw[(page-1)*4096:][:4096])
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func freezeAll(t *testing.T, h *brokertest.Harness) {
	t.Helper()
	_, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{IdempotencyKey: "freeze-key-1", AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
	if err != nil {
		t.Errorf("the freeze is not given: %v", err)
	}
}

// An issuance whose row has the body of another grant's, with its sum, stops neither a freeze nor the
// expiry of others.
func TestAnothersBodyStopsNobodyElsesEnd(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *brokertest.Harness){
		"freeze": freezeAll,
		"expiry": func(_ *testing.T, h *brokertest.Harness) { h.Clock.Add(20 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			from, to, other := granted(t, h, domain+"/agent/alice/s1"), granted(t, h, domain+"/agent/bob/s1"), granted(t, h, domain+"/agent/carol/s1")
			h.Stop()
			sqlOn(t, h, "UPDATE issuances SET body = e.body, sum = e.sum FROM issuances e WHERE issuances.grant_id = ? AND e.grant_id = ?", to, from)
			h.Start()
			end(t, h)
			brokertest.Eventually(t, "the others have ended", func() bool {
				n := 0
				for _, kind := range []string{grant.GrantRevoked, grant.GrantExpired} {
					n += records(h, kind, from) + records(h, kind, other)
				}
				return n == 2
			})
			if !errors.Is(h.Store.Damage(), store.ErrDamaged) {
				t.Errorf("damage: %v", h.Store.Damage())
			}
		})
	}
}

// A grant one of whose issuances cannot be read has its credentials revoked all the same: the others
// by their rows, and that one by the work that was kept for it.
func TestADamagedIssuanceKeepsNoCredentialAlive(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *brokertest.Harness, string, string){
		"release": func(t *testing.T, h *brokertest.Harness, _, g string) {
			if _, err := h.AgentClient(brokertest.Agent).ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g}); err == nil {
				t.Error("it says that the grant has ended")
			}
		},
		"task": func(t *testing.T, h *brokertest.Harness, task, _ string) {
			if _, err := h.OperatorClient().RevokeTask(t.Context(), &valetkeyv1.RevokeTaskRequest{IdempotencyKey: "revoke-key-1", TaskId: task, Cause: "incident"}); err == nil {
				t.Error("it says that the task has ended")
			}
		},
		"freeze": func(t *testing.T, h *brokertest.Harness, _, _ string) { freezeAll(t, h) },
		"expiry": func(_ *testing.T, h *brokertest.Harness, _, _ string) { h.Clock.Add(20 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			c := h.AgentClient(brokertest.Agent)
			task := openTask(t, c, "task-key-1")
			var grants []string
			for i := range 2 {
				g, err := c.RequestGrant(t.Context(), ask(task, fmt.Sprint("grant-key-", i)))
				if err != nil {
					t.Fatal(err)
				}
				grants = append(grants, g.GetGrant().GetId())
			}
			if _, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: grants[0]}); err != nil {
				t.Fatal(err)
			}
			h.Stop()
			sqlOn(t, h, "UPDATE issuances SET body = replace(body, 'issued', 'Issued') WHERE id = (SELECT min(id) FROM issuances WHERE grant_id = ?)", grants[0])
			h.Start()
			end(t, h, task, grants[0])
			want := 0
			if name == "release" {
				want = 1 // of the other grant
			}
			brokertest.Eventually(t, "the credentials are revoked", func() bool { return h.Minter.Live() == want })
			brokertest.Eventually(t, "that is on the record", func() bool { return records(h, grant.RevocationConcluded, grants[0]) == 2 })
			for _, kind := range []string{grant.GrantRevoked, grant.GrantExpired, grant.GrantReleased} {
				if records(h, kind, grants[0]) > 0 {
					t.Errorf("%s: the damaged grant cannot have ended", kind)
				}
			}
		})
	}
}

// A person's no to what was minted already revokes it, though the grant cannot be ended.
func TestANoRevokesWhatADamagedGrantHas(t *testing.T) {
	for name, query := range map[string]string{
		"an issuance": "UPDATE issuances SET body = replace(body, 'issued', 'Issued') WHERE id = (SELECT min(id) FROM issuances WHERE grant_id = ?)",
		"tokens":      "UPDATE buckets SET sum = 1 WHERE ? <> ''",
	} {
		t.Run(name, func(t *testing.T) {
			w := waiting(t, brokertest.Config{})
			w.decide(t, w.bob, evidence.Approve)
			w.decide(t, w.carol, evidence.Approve)
			for _, key := range []string{"mint-key-1", "mint-key-2"} {
				if _, err := w.mint(t, key); err != nil {
					t.Fatal(err)
				}
			}
			g := w.grant.GetId()
			sqlOn(t, w.Harness, query, g)
			if _, err := w.Decide(w.bob, g, evidence.Reject); err == nil {
				t.Error("it says that the grant has ended")
			}
			brokertest.Eventually(t, "both credentials are revoked", func() bool { return w.Minter.Live() == 0 })
		})
	}
}

// ordered gives operators' two orders that end many grants, each on a broker of its own with one credential, whose
// database was harmed in between. check has what each was answered with.
func ordered(t *testing.T, harm func(h *brokertest.Harness, g string), check func(*testing.T, *brokertest.Harness, error)) {
	t.Helper()
	for name, order := range map[string]func(context.Context, valetkeyv1.OperatorServiceClient) error{
		"freeze": func(ctx context.Context, c valetkeyv1.OperatorServiceClient) error {
			_, err := c.SetFreeze(ctx, &valetkeyv1.SetFreezeRequest{IdempotencyKey: "freeze-key-1", AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
			return err
		},
		"agent": func(ctx context.Context, c valetkeyv1.OperatorServiceClient) error {
			whose := &valetkeyv1.RevokeGrantsRequest_AgentSpiffeId{AgentSpiffeId: brokertest.Agent}
			_, err := c.RevokeGrants(ctx, &valetkeyv1.RevokeGrantsRequest{IdempotencyKey: "revoke-key-1", Whose: whose, Cause: "incident"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			g := granted(t, h, brokertest.Agent)
			h.Stop()
			harm(h, g)
			h.Start()
			soon, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it waits for what is damaged
			defer cancel()
			check(t, h, order(soon, h.OperatorClient()))
		})
	}
}

// A grant that cannot be read keeps no credential from an order that names its agent.
func TestAnOrderRevokesWhatAnUnreadableGrantHas(t *testing.T) {
	for name, harm := range map[string]func(h *brokertest.Harness, g string){
		"row":  func(h *brokertest.Harness, g string) { sqlOn(t, h, "UPDATE grants SET sum = 1 WHERE id = ?", g) },
		"page": func(h *brokertest.Harness, _ string) { zeroed(t, h, "grants") },
	} {
		t.Run(name, func(t *testing.T) {
			ordered(t, harm, func(t *testing.T, h *brokertest.Harness, _ error) {
				t.Helper()
				brokertest.Eventually(t, "the credential is revoked", func() bool { return h.Minter.Live() == 0 })
			})
		})
	}
}

// An order that cannot be kept ends what it names, and says that it was not given.
func TestAnOrderEndsThoughItCannotBeKept(t *testing.T) {
	ordered(t, func(h *brokertest.Harness, _ string) { zeroed(t, h, "sweeps"); zeroed(t, h, "frozen") }, func(t *testing.T, h *brokertest.Harness, err error) {
		t.Helper()
		if err == nil {
			t.Error("it says that the order was given")
		}
		brokertest.Eventually(t, "the credential is revoked", func() bool { return h.Minter.Live() == 0 })
	})
}

// A credential that is being minted while its grant is revoked, and cannot be ended, is not delivered: nobody would
// revoke it before its deadline.
func TestADamagedGrantDeliversNothingOnceItIsRevoked(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	g := granted(t, h, brokertest.Agent)
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error {
			sqlOn(t, h, "UPDATE issuances SET body = replace(body, 'issued', 'Issued') WHERE grant_id = ? AND state = 'issued'", g)
			if _, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{IdempotencyKey: "revoke-key-1", GrantId: g, Cause: "incident"}); err == nil {
				t.Error("it says that the grant has ended")
			}
			return nil
		}
	})
	resp, err := h.AgentClient(brokertest.Agent).MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-2", GrantId: g})
	if err == nil || resp.GetCredential() != nil {
		t.Errorf("delivered after the grant was revoked: %v", err)
	}
	brokertest.Eventually(t, "both credentials are revoked", func() bool { return h.Minter.Live() == 0 })
}

// Damage where idempotency keys are keeps no operator's end from being carried out.
func TestLostKeysStopNoEnd(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *brokertest.Harness, string){
		"freeze": func(t *testing.T, h *brokertest.Harness, _ string) { freezeAll(t, h) },
		"revoke": func(t *testing.T, h *brokertest.Harness, g string) {
			if _, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{IdempotencyKey: "revoke-key-1", GrantId: g, Cause: "incident"}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			g := granted(t, h, brokertest.Agent)
			h.Stop()
			zeroed(t, h, "idempotency")
			h.Start()
			end(t, h, g)
			brokertest.Eventually(t, "the grant has ended", func() bool { return records(h, grant.GrantRevoked, g) == 1 && h.Minter.Live() == 0 })
			// A thaw that is sent again late would undo a freeze: it needs its key.
			if _, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{IdempotencyKey: "thaw-key-1", AgentSpiffeId: domain, Cause: "over"}); err == nil {
				t.Error("it is thawed without its key")
			}
		})
	}
}

// Once damage is known, a freeze goes by what the table has: a grant that the index has lost keeps no
// credential, and the order is not done.
func TestAFreezeFindsWhatAnIndexLost(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	lost := granted(t, h, domain+"/agent/alice/s1")
	granted(t, h, domain+"/agent/bob/s1")
	h.Stop()
	without(t, h, "none", "CREATE TABLE away AS SELECT * FROM grants WHERE id = '"+lost+"'", "DELETE FROM grants WHERE id = '"+lost+"'")
	without(t, h, "grants_open", "INSERT INTO grants SELECT * FROM away", "DROP TABLE away")
	h.Start()
	if !errors.Is(h.Store.Damage(), store.ErrDamaged) {
		t.Fatalf("damage: %v", h.Store.Damage())
	}
	resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain, Frozen: true, Cause: "incident"})
	brokertest.Eventually(t, "both credentials are revoked", func() bool { return h.Minter.Live() == 0 })
	if n := records(h, grant.GrantRevoked, lost); err != nil || n == 0 && !resp.GetUnfinished() {
		t.Errorf("%d ends of it: %v, %v", n, resp, err)
	}
}

// What is damaged of an issuance keeps no end of its credential from being done with: it would be
// carried upstream each second, in front of others.
func TestAnEndIsDoneWithThoughItsIssuanceIsDamaged(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	g := granted(t, h, brokertest.Agent)
	var down atomic.Bool
	down.Store(true)
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(mint.Handle) error {
			if down.Load() {
				return mint.ErrUnavailable
			}
			return nil
		}
	})
	if _, err := h.AgentClient(brokertest.Agent).ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g}); err != nil {
		t.Fatal(err)
	}
	h.Stop()
	sqlOn(t, h, "UPDATE issuances SET body = replace(body, 'issued', 'Issued') WHERE grant_id = ?", g)
	down.Store(false)
	h.Start()
	h.Clock.Add(store.MaxPutOff)
	brokertest.Eventually(t, "its end is on the record", func() bool { return records(h, grant.RevocationConcluded, g) == 1 })
	if !strings.Contains(h.Logs(), "the store is damaged") {
		t.Error("nobody is told of the damage")
	}
}
