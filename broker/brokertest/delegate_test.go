package brokertest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const delegate = "spiffe://example.org/vault/plugin"

func speakFor(ctx context.Context, id string) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(valetkeyv1.OnBehalfOfAgent, id))
}

func withDelegate(g guard.Config) brokertest.Config {
	return brokertest.Config{Guard: g, Delegates: []identity.Delegate{{ID: delegate, Agents: []string{"/agent/{user}/s1", "/operator"}}}}
}

// openFor opens a task for an agent.
func openFor(t *testing.T, c valetkeyv1.AgentServiceClient, id, key string) (string, error) {
	t.Helper()
	resp, err := c.OpenTask(speakFor(t.Context(), id), &valetkeyv1.OpenTaskRequest{IdempotencyKey: key, Purpose: "test", Environment: "production"})
	return resp.GetTask().GetId(), err
}

// TestDelegateIsTheAgent has a delegate and its agent use one task, and every
// record of the delegate's calls name both.
func TestDelegateIsTheAgent(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{}))
	c, alice := h.AgentClient(delegate), h.AgentClient(brokertest.Agent)
	task, err := openFor(t, c, brokertest.Agent, "delegate-task")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.RequestGrant(speakFor(t.Context(), brokertest.Agent), ask(task, "delegate-grant"))
	if err != nil {
		t.Fatal(err)
	}
	if got.GetGrant().GetAgentSpiffeId() != brokertest.Agent {
		t.Errorf("the grant is %s's", got.GetGrant().GetAgentSpiffeId())
	}
	// The key is the agent's: its own repeat is answered as a repeat.
	_, err = alice.RequestGrant(t.Context(), ask(task, "delegate-grant"))
	wantReason(t, err, codes.AlreadyExists, "ALREADY_ISSUED")
	// Another agent of the same delegate has no part in it.
	_, err = c.RequestGrant(speakFor(t.Context(), "spiffe://example.org/agent/bob/s1"), ask(task, "bobs-grant"))
	wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
	if _, err := c.CloseTask(speakFor(t.Context(), brokertest.Agent), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, raw := range h.Records() {
		var r struct {
			Type  string `json:"type"`
			Agent string `json:"agent_spiffe_id"`
			By    string `json:"delegate_spiffe_id"`
			Why   string `json:"reason"`
		}
		if err := json.Unmarshal([]byte(raw), &r); err != nil {
			t.Fatal(err)
		}
		seen[r.Type] = true
		switch {
		case r.Agent != brokertest.Agent, r.Type == "revocation.concluded", r.Why == "ALREADY_ISSUED":
		case r.By != delegate:
			t.Errorf("%s does not name the delegate: %s", r.Type, raw)
		}
	}
	for _, want := range []string{"task.opened", "grant.cleared", "issuance.intended", "issuance.issued", "task.closed", "grant.released"} {
		if !seen[want] {
			t.Errorf("no record of type %s", want)
		}
	}
}

func TestDelegateIsHeldToItsList(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{}))
	c := h.AgentClient(delegate)
	const stranger = "spiffe://example.org/agent/alice/s2"
	_, err := openFor(t, c, stranger, "not-listed")
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	_, err = c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	_, err = h.AgentClient(brokertest.Agent).ListScopes(speakFor(t.Context(), "spiffe://example.org/agent/bob/s1"), &valetkeyv1.ListScopesRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	// A template of the delegate's fits the operator, and nobody speaks for those.
	operator := valetkeyv1.NewOperatorServiceClient(h.Dial(delegate))
	for _, id := range []string{brokertest.Operator, brokertest.Agent} {
		_, err = operator.ListGrants(speakFor(t.Context(), id), &valetkeyv1.OperatorServiceListGrantsRequest{})
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	}
	stream, err := c.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: "grant_" + strings.Repeat("a", 26)})
	if err == nil {
		_, err = stream.Recv()
	}
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	named := false
	for _, raw := range h.Records() {
		named = named || strings.Contains(raw, `"refusal.recorded"`) && strings.Contains(raw, `"agent_spiffe_id":"`+stranger) &&
			strings.Contains(raw, `"delegate_spiffe_id":"`+delegate) && strings.Contains(raw, "CALLER_NOT_ALLOWED")
	}
	if !named {
		t.Errorf("no record names the agent and the delegate: %v", h.Records())
	}
}

func TestDelegateIsFrozenAndLimited(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{DelegateBurst: 6, DelegateRatePerMinute: 1}))
	c, op := h.AgentClient(delegate), h.OperatorClient()
	task, err := openFor(t, c, brokertest.Agent, "delegate-task")
	if err != nil {
		t.Fatal(err)
	}
	freeze := func(id string, on bool) {
		t.Helper()
		if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: id, Frozen: on, Cause: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range []string{brokertest.Agent, delegate, "spiffe://example.org/vault"} {
		freeze(id, true)
		_, err := c.RequestGrant(speakFor(t.Context(), brokertest.Agent), ask(task, "frozen-grant-"+string(rune('a'+i))))
		wantReason(t, err, codes.PermissionDenied, "FROZEN")
		freeze(id, false)
	}
	// A freeze that comes while the credential is minted stops it too.
	h.Minter.Set(func(m *brokertest.Minter) {
		m.AfterMint = func(mint.Order) error { freeze(delegate, true); return nil }
	})
	_, err = c.RequestGrant(speakFor(t.Context(), brokertest.Agent), ask(task, "frozen-late"))
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	freeze(delegate, false)
	h.Minter.Set(func(m *brokertest.Minter) { m.AfterMint = nil })
	brokertest.Eventually(t, "what was minted is revoked", func() bool { return h.Minter.Live() == 0 })
	// Five of six tokens are gone; bob has all of his own, and the delegate one.
	if _, err := openFor(t, c, "spiffe://example.org/agent/bob/s1", "bobs-task"); err != nil {
		t.Fatal(err)
	}
	_, err = openFor(t, c, "spiffe://example.org/agent/carol/s1", "carols-task")
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if _, err := h.AgentClient("spiffe://example.org/agent/carol/s1").OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{
		IdempotencyKey: "carols-own", Purpose: "test", Environment: "production",
	}); err != nil {
		t.Errorf("the delegate's limit is not carol's: %v", err)
	}
}
