package brokertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

var errDisk = fmt.Errorf("%w: disk full", store.ErrUnavailable)

// failing fails updates while it is armed: before they are persisted, or after,
// as when an acknowledgement is lost.
type failing struct {
	store.Store
	before, after atomic.Bool
	// armed arms before once an update has left the store so; nil never does.
	armed atomic.Pointer[func(store.Reader) bool]
}

func (f *failing) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	if f.before.Load() {
		return store.Head{}, errDisk
	}
	h, err := f.Store.Update(ctx, fn)
	if now := f.armed.Load(); err == nil && now != nil {
		err = f.View(ctx, func(r store.Reader) error {
			if (*now)(r) {
				f.before.Store(true)
			}
			return nil
		})
	}
	if err == nil && f.after.Load() {
		return store.Head{}, errDisk
	}
	return h, err
}

// TestFailureTable has a row for every external write of one issuance, failing
// before and after it took effect. Whatever fails: no credential is delivered,
// what may exist is revoked, no intent stays open, and the log verifies.
func TestFailureTable(t *testing.T) {
	for name, tc := range map[string]struct {
		arm    func(*failing, *brokertest.Minter)
		reason string
		// state of the issuance in the end; "" when there is none
		state string
	}{
		"intent, before":     {func(f *failing, _ *brokertest.Minter) { f.before.Store(true) }, "LEDGER_UNAVAILABLE", ""},
		"intent, after":      {func(f *failing, _ *brokertest.Minter) { f.after.Store(true) }, "LEDGER_UNAVAILABLE", "issuance.orphaned"},
		"mint refused":       {hook(mint.ErrRefused, true), "UPSTREAM_REFUSED", "issuance.failed"},
		"mint never reached": {hook(mint.Harmless(mint.ErrUnavailable), true), "UPSTREAM_UNAVAILABLE", "issuance.failed"},
		"mint, answer lost":  {hook(mint.ErrUnavailable, false), "UPSTREAM_UNAVAILABLE", "issuance.failed"},
		"mint, wrong answer": {hook(mint.ErrInvalid, false), "UPSTREAM_INVALID", "issuance.failed"},
		"outcome, before": {func(f *failing, m *brokertest.Minter) {
			m.AfterMint = func(mint.Order) error { f.before.Store(true); return nil }
		}, "LEDGER_UNAVAILABLE", "issuance.orphaned"},
		"outcome, after": {func(f *failing, m *brokertest.Minter) {
			m.AfterMint = func(mint.Order) error { f.after.Store(true); return nil }
		}, "LEDGER_UNAVAILABLE", "issuance.issued"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *failing
			h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
			c := h.AgentClient(brokertest.Agent)
			task := openTask(t, c, "task-key-1")
			h.Minter.Set(func(m *brokertest.Minter) { tc.arm(f, m) })
			resp, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
			if err == nil || resp.GetCredential() != nil {
				t.Fatal("a credential was delivered")
			}
			if got := reasonOf(err); got != tc.reason {
				t.Errorf("reason %s, want %s", got, tc.reason)
			}
			// The process dies here, and comes back on a healthy disk.
			h.Minter.Set(func(m *brokertest.Minter) { m.BeforeMint, m.AfterMint = nil, nil })
			f.before.Store(false)
			f.after.Store(false)
			h.Stop()
			h.Start()
			c = h.AgentClient(brokertest.Agent)
			if tc.state != "" {
				wantRecord(t, h, tc.state, "")
			}
			if name == "outcome, after" {
				// The record says issued, and it was not delivered: the agent cannot
				// know, so closing the task is what ends it.
				if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
					t.Fatal(err)
				}
			}
			brokertest.Eventually(t, "nothing works upstream", func() bool { return h.Minter.Live() == 0 })
			if err := h.Store.View(t.Context(), func(r store.Reader) error {
				open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
				if len(open) > 0 {
					t.Errorf("open intents: %+v", open)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := h.Key.Check(t.Context(), h.Store); err != nil {
				t.Error(err)
			}
		})
	}
}

func hook(err error, before bool) func(*failing, *brokertest.Minter) {
	return func(_ *failing, m *brokertest.Minter) {
		fn := func(mint.Order) error { return err }
		if before {
			m.BeforeMint = fn
		} else {
			m.AfterMint = fn
		}
	}
}

func TestRevocationIsRetriedUntilItIsOnTheRecord(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int32
	h.Minter.Set(func(m *brokertest.Minter) {
		m.OnRevoke = func(mint.Handle) error {
			if tries.Add(1) < 3 {
				return mint.ErrUnavailable
			}
			return nil
		}
	})
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()}); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "the first try", func() bool { return tries.Load() >= 1 })
	h.Stop() // the work is durable
	h.Start()
	brokertest.Eventually(t, "the revocation is on the record", func() bool {
		h.Clock.Add(time.Minute)
		return has(t, h, "revocation.concluded", "")
	})
	if h.Minter.Live() != 0 {
		t.Error("it still works")
	}
}

func TestGrantRevokedWhileMinting(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	task := openTask(t, c, "task-key-1")
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error {
			_, err := op.RevokeTask(context.Background(), &valetkeyv1.RevokeTaskRequest{TaskId: task, Cause: "incident"})
			return err
		}
	})
	_, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.FailedPrecondition, "GRANT_ENDED")
	brokertest.Eventually(t, "it is dead upstream", func() bool { return h.Minter.Live() == 0 })
	wantRecord(t, h, "issuance.orphaned", "GRANT_ENDED")
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-2"))
	wantReason(t, err, codes.FailedPrecondition, "TASK_CLOSED")
}

func TestEndsOfGrants(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	req := ask(openTask(t, c, "task-key-1"), "grant-key-1")
	req.Ttl = durationpb.New(time.Minute)
	g, err := c.RequestGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	id := g.GetGrant().GetId()
	w, err := c.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: id})
	if err != nil {
		t.Fatal(err)
	}
	state := func() valetkeyv1.GrantState {
		m, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m.GetGrant().GetState()
	}
	if s := state(); s != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("first %v", s)
	}
	h.Clock.Add(61 * time.Second) // the SVID outlives it
	if s := state(); s != valetkeyv1.GrantState_GRANT_STATE_EXPIRED {
		t.Errorf("then %v", s)
	}
	wantRecord(t, h, "grant.expired", "")
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: id})
	wantReason(t, err, codes.FailedPrecondition, "GRANT_ENDED")
	again, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: id})
	if err != nil || again.GetGrant().GetState() != valetkeyv1.GrantState_GRANT_STATE_EXPIRED {
		t.Errorf("a release after the end: %v, %v", again, err)
	}
}

func TestExpiredSVIDEndsCallsAndStreams(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	id := spiffeid.RequireFromString(brokertest.Agent)
	svid, err := h.Authority.X509SVID(id, h.Clock.Now().Add(-time.Minute), h.Clock.Now().Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	src := h.Authority.Source(id)
	src.Fix(svid)
	c := valetkeyv1.NewAgentServiceClient(h.DialFrom(src))
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: g.GetGrant().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	h.Clock.Add(11 * time.Minute) // the same connection, past the SVID's end
	_, err = w.Recv()
	wantReason(t, err, codes.Unauthenticated, "SVID_EXPIRED")
	_, err = c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	wantReason(t, err, codes.Unauthenticated, "SVID_EXPIRED")
}

func TestRefusalFloodIsCounted(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/database")
	for range 200 {
		_, err := c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	}
	one := strings.Count(typesOf(t, h), "refusal.recorded")
	h.Clock.Add(2 * time.Minute)
	brokertest.Eventually(t, "the rest is one record", func() bool { return has(t, h, "refusal.summary", "CALLER_NOT_ALLOWED") })
	var counted int64
	for _, r := range recordsOf(t, h) {
		counted += r.Count
		if r.Count > 0 && (r.CallerKey != "" || r.ClaimedDomain != brokertest.TrustDomain) {
			t.Errorf("it counts the refusals of %q, or %q", r.CallerKey, r.ClaimedDomain)
		}
	}
	if one+int(counted) != 200 || one > 20 {
		t.Errorf("%d recorded and %d counted of 200", one, counted)
	}
}

// One caller's flood leaves another's refusals on the record one by one.
func TestNoisyCallerHidesNobody(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	noisy, quiet := "spiffe://"+brokertest.TrustDomain+"/agent/mallory/s1", brokertest.Agent
	refused := func(id string, n int) {
		c := h.AgentClient(id)
		for range n {
			_, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: "task_" + strings.Repeat("a", 26)})
			wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
		}
	}
	refused(noisy, 100)
	refused(strings.Replace(noisy, "s1", "s2", 1), 100) // a new session is no new share
	refused(quiet, 5)
	by := map[string]int{}
	for _, r := range h.Records() {
		for _, id := range []string{noisy[:len(noisy)-1], quiet} {
			if strings.Contains(r, "refusal.recorded") && strings.Contains(r, id) {
				by[id]++
			}
		}
	}
	if by[quiet] != 5 || by[noisy[:len(noisy)-1]] != 20 {
		t.Errorf("recorded one by one: %v", by)
	}
	h.Clock.Add(2 * time.Minute)
	brokertest.Eventually(t, "the rest is counted", func() bool { return has(t, h, "refusal.summary", "TASK_NOT_FOUND") })
	for _, r := range recordsOf(t, h) {
		if r.Count > 0 && (r.Count != 180 || r.CallerKey != "spiffe://"+brokertest.TrustDomain+"?user=mallory" || r.ClaimedDomain != "") {
			t.Errorf("%d refusals of %q, or %q", r.Count, r.CallerKey, r.ClaimedDomain)
		}
	}
}

func TestBadReloadLeavesTheOldCatalogServing(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{}})
	op := h.OperatorClient()
	before, err := op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.Catalog, "s3-prefix-read.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(good, "colour: blue\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{})
	wantReason(t, err, codes.FailedPrecondition, "INVALID_CATALOG")
	if !strings.Contains(err.Error(), "s3-prefix-read.yaml") || !strings.Contains(err.Error(), "colour") {
		t.Errorf("it does not say where: %v", err)
	}
	list, err := h.AgentClient(brokertest.Agent).ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	if err != nil || list.GetCatalogVersion() != before.GetCatalogVersion() {
		t.Errorf("serving %q, %v", list.GetCatalogVersion(), err)
	}
}

func TestPolicyChangeEndsMinting(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	forbid := `@id("test.stop") @reason("stopped") forbid (principal, action == Valetkey::Action::"s3-prefix-write", resource);`
	if err := os.WriteFile(filepath.Join(h.Catalog, "policies", "stop.cedar"), []byte(forbid), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: g.GetGrant().GetId()})
	wantReason(t, err, codes.PermissionDenied, "DENIED")
	wantRecord(t, h, "issuance.refused", "DENIED")
}

// The broker is not ready while its store refuses writes, and finds out by
// itself that it takes them again, though nobody calls.
func TestReadinessFollowsTheStore(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	if err := h.Broker.Ready(); err != nil {
		t.Fatal(err)
	}
	c := h.AgentClient(brokertest.Agent)
	// What a call is refused for is no fault of the store's.
	_, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: "task_" + strings.Repeat("a", 26)})
	wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
	if err := h.Broker.Ready(); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	f.before.Store(true)
	brokertest.Eventually(t, "it is not ready", func() bool {
		h.Clock.Add(time.Minute) // long enough after whatever was being written, so that the idle broker looks
		return errors.Is(h.Broker.Ready(), store.ErrUnavailable)
	})
	f.before.Store(false)
	brokertest.Eventually(t, "it is ready again", func() bool { return h.Broker.Ready() == nil })
	if n := strings.Count(h.Logs(), "the store refuses writes"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
