package brokertest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const domain = "spiffe://" + brokertest.TrustDomain

// granted has an agent of this ID hold a credential, and returns its grant.
func granted(t *testing.T, h *brokertest.Harness, id string) string {
	t.Helper()
	c := h.AgentClient(id)
	resp, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetGrant().GetId()
}

// liveAt is an agent of each kind that an operator's order tells apart.
func liveAt(t *testing.T, h *brokertest.Harness) (grants map[string]string) {
	t.Helper()
	grants = map[string]string{}
	for _, path := range []string{"/agent/alice/s1", "/agent/alice/s2", "/agent/alice-x/s1", "/agent/alice0/s1", "/agent/bob/s1"} {
		grants[path] = granted(t, h, domain+path)
	}
	return grants
}

// TestOrdersEndWhatIsLive has every order that names agents end their grants, theirs
// alone, on the record and upstream.
func TestOrdersEndWhatIsLive(t *testing.T) {
	alices := []string{"/agent/alice/s1", "/agent/alice/s2"}
	all := []string{"/agent/alice/s1", "/agent/alice/s2", "/agent/alice-x/s1", "/agent/alice0/s1", "/agent/bob/s1"}
	freeze := func(at string) func(valetkeyv1.OperatorServiceClient) (int64, error) {
		return func(op valetkeyv1.OperatorServiceClient) (int64, error) {
			resp, err := op.SetFreeze(context.Background(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: at, Frozen: true, Cause: "incident"})
			return resp.GetEndedGrants(), err
		}
	}
	revoke := func(r *valetkeyv1.RevokeGrantsRequest) func(valetkeyv1.OperatorServiceClient) (int64, error) {
		return func(op valetkeyv1.OperatorServiceClient) (int64, error) {
			r.Cause = "incident"
			resp, err := op.RevokeGrants(context.Background(), r)
			return resp.GetEndedGrants(), err
		}
	}
	for name, tc := range map[string]struct {
		order  func(valetkeyv1.OperatorServiceClient) (int64, error)
		ended  []string
		record string
	}{
		"freeze an agent":        {freeze(domain + "/agent/alice/s1"), alices[:1], `"type":"agent.frozen"`},
		"freeze an owner":        {freeze(domain + "/agent/alice"), alices, `"type":"agent.frozen"`},
		"freeze a path":          {freeze(domain + "/agent"), all, `"type":"agent.frozen"`},
		"freeze a trust domain":  {freeze(domain), all, `"type":"agent.frozen"`},
		"freeze another domain":  {freeze("spiffe://other.example"), nil, `"type":"agent.frozen"`},
		"revoke an agent's":      {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_AgentSpiffeId{AgentSpiffeId: domain + "/agent/alice/s1"}}), alices[:1], `"type":"revocation.ordered"`},
		"revoke no agent's":      {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_AgentSpiffeId{AgentSpiffeId: domain + "/agent/alice"}}), nil, `"type":"revocation.ordered"`},
		"revoke below a path":    {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_Path{Path: domain + "/agent/alice"}}), alices, `"agent_path":"` + domain + `/agent/alice"`},
		"revoke a trust domain":  {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_Path{Path: domain}}), all, `"agent_path":"` + domain + `"`},
		"revoke an owner's":      {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_Owner{Owner: "alice"}}), alices, `"owner":"alice"`},
		"revoke another owner's": {revoke(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_Owner{Owner: "alic"}}), nil, `"owner":"alic"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := brokertest.New(t, brokertest.Config{})
			grants := liveAt(t, h)
			n, err := tc.order(h.OperatorClient())
			if err != nil || n != int64(len(tc.ended)) {
				t.Fatalf("%d grants ended, %v; want %d", n, err, len(tc.ended))
			}
			for path, id := range grants {
				want := valetkeyv1.GrantState_GRANT_STATE_ACTIVE
				if strings.Contains(strings.Join(tc.ended, " ")+" ", path+" ") {
					want = valetkeyv1.GrantState_GRANT_STATE_REVOKED
				}
				if got := h.State(id); got != want {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
			brokertest.Eventually(t, "the upstream follows", func() bool { return h.Minter.Live() == len(grants)-len(tc.ended) })
			text := strings.Join(h.Records(), "\n")
			if ends := strings.Count(text, `"type":"grant.revoked"`); ends != len(tc.ended) || strings.Count(text, `"operator_spiffe_id":"`+brokertest.Operator) != ends+2 {
				t.Errorf("%d ends, not all by the operator's name: %s", ends, text)
			}
			if !strings.Contains(text, tc.record) || !strings.Contains(text, `"type":"revocation.swept"`) {
				t.Errorf("the order, or its end, is not on the record: %s", text)
			}
		})
	}
}

// What has not been minted ends too, and with keep_live nothing does.
func TestFreezeEndsWhatIsPendingOrCleared(t *testing.T) {
	for name, keep := range map[string]bool{"ended": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			w := waiting(t, brokertest.Config{})
			unminted := ask(w.task, "unminted-key")
			unminted.Mint = false
			cleared, err := w.agent.RequestGrant(t.Context(), unminted)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: true, KeepLive: keep, Cause: "incident"})
			want, ended := [2]valetkeyv1.GrantState{valetkeyv1.GrantState_GRANT_STATE_REVOKED, valetkeyv1.GrantState_GRANT_STATE_REVOKED}, int64(2)
			if keep {
				want, ended = [2]valetkeyv1.GrantState{valetkeyv1.GrantState_GRANT_STATE_PENDING, valetkeyv1.GrantState_GRANT_STATE_CLEARED}, 0
			}
			if err != nil || resp.GetEndedGrants() != ended {
				t.Errorf("%v, %v", resp, err)
			}
			if got := [2]valetkeyv1.GrantState{w.state(), w.State(cleared.GetGrant().GetId())}; got != want {
				t.Errorf("they are %v", got)
			}
			_, err = w.agent.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: cleared.GetGrant().GetId()})
			wantReason(t, err, codes.PermissionDenied, "FROZEN")
			if text := strings.Join(w.Records(), "\n"); strings.Contains(text, `"keep_live":true`) != keep {
				t.Error("the record does not say what becomes of what is live")
			}
		})
	}
}

// A frozen delegate's grants end, of whatever agent they are, and no others of the agent's.
func TestFreezeEndsWhatADelegateHolds(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{}))
	own, via := h.AgentClient(brokertest.Agent), h.AgentClient(delegate)
	ctx := metadata.AppendToOutgoingContext(t.Context(), valetkeyv1.OnBehalfOfAgent, brokertest.Agent)
	task := openTask(t, own, "task-key-1")
	first, err := own.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := via.RequestGrant(ctx, ask(task, "grant-key-2"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain + "/vault", Frozen: true, Cause: "incident"})
	if err != nil || resp.GetEndedGrants() != 1 {
		t.Errorf("%v, %v", resp, err)
	}
	if s := h.State(first.GetGrant().GetId()); s != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("the agent's own is %v", s)
	}
	if s := h.State(second.GetGrant().GetId()); s != valetkeyv1.GrantState_GRANT_STATE_REVOKED {
		t.Errorf("the delegate's is %v", s)
	}
	brokertest.Eventually(t, "the agent's own works alone", func() bool { return h.Minter.Live() == 1 })
}

// A frozen approver's yes ends with what rests on it, and not what others carry.
func TestFreezeEndsWhatRestsOnAnApprover(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	if _, err := w.mint(t, "mint-key-1"); err != nil {
		t.Fatal(err)
	}
	freeze := func(id string) int64 {
		t.Helper()
		resp, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: id, Frozen: true, Cause: "a stolen key"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetEndedGrants()
	}
	if n := freeze(w.dave.ID); n != 0 || w.state() != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("a stranger to it ended %d", n)
	}
	if n := freeze(w.bob.ID); n != 1 || w.state() != valetkeyv1.GrantState_GRANT_STATE_REVOKED {
		t.Errorf("it ended %d, and the grant is %v", n, w.state())
	}
	brokertest.Eventually(t, "nothing works upstream", func() bool { return w.Minter.Live() == 0 })
}

// manyLive puts n active grants of alice's sessions into the store, with a credential each.
func manyLive(t *testing.T, h *brokertest.Harness, n int) {
	t.Helper()
	now := h.Clock.Now()
	if _, err := h.Store.Update(t.Context(), func(tx store.Tx) error {
		errs := []error{tx.PutTask(store.Task{ID: "task_many", Agent: brokertest.Agent, OpenedAt: now})}
		for i := range n {
			id, agent := fmt.Sprintf("many%07d", i), fmt.Sprintf("%s/agent/alice/s%d", domain, i)
			errs = append(errs,
				tx.PutGrant(store.Grant{ID: "grant_" + id, TaskID: "task_many", Agent: agent, State: store.GrantActive, RequestedAt: now, ExpiresAt: now.Add(time.Hour), TTL: time.Hour}),
				tx.PutIssuance(store.Issuance{ID: "iss_" + id, GrantID: "grant_" + id, Agent: agent, State: store.IssuanceIssued, Handle: []byte(`{"provider":"aws"}`), NotAfter: now.Add(time.Hour)}),
				tx.PutWork(store.Work{ID: "iss_" + id, GrantID: "grant_" + id, Agent: agent, Handle: []byte(`{"provider":"aws"}`), Held: true}))
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatal(err)
	}
}

// A freeze of more than one transaction holds at once, and what it orders is done by a
// broker that starts after a crash.
func TestFreezeOfManyOutlivesACrash(t *testing.T) {
	var f *failing
	h := brokertest.New(t, brokertest.Config{Wrap: func(s store.Store) store.Store { f = &failing{Store: s}; return f }})
	manyLive(t, h, 2000)
	begun := func(r store.Reader) bool {
		open, err := r.OpenSweeps()
		return err == nil && len(open) > 0
	}
	f.armed.Store(&begun) // whatever else is written before
	resp, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: domain + "/agent/alice", Frozen: true, Cause: "incident"})
	if err != nil || !resp.GetUnfinished() || resp.GetEndedGrants() == 0 {
		t.Errorf("%v, %v", resp, err)
	}
	open := func() (n int) {
		if err := h.Store.View(t.Context(), func(r store.Reader) error {
			left, err := r.OpenUnder(store.Path{ID: domain + "/agent", Below: true}, 5000)
			n = len(left)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := open(); n == 0 || n == 2000 {
		t.Fatalf("%d are left", n)
	}
	f.armed.Store(nil)
	f.before.Store(false)
	h.Stop()
	h.Start()
	c := h.AgentClient(domain + "/agent/alice/s1999")
	_, err = c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: "grant_many0001999"})
	if err == nil {
		t.Error("a frozen agent minted")
	}
	brokertest.Eventually(t, "all have ended", func() bool { return open() == 0 && has(t, h, "revocation.swept", "") })
	for _, r := range h.Records() {
		if strings.Contains(r, `"revocation.swept"`) && !strings.Contains(r, `"count":2000`) {
			t.Errorf("got %s", r)
		}
	}
	if err := h.Key.Check(t.Context(), h.Store); err != nil {
		t.Error(err)
	}
}
