package brokertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Approvals count by who is listed when the credential is minted.
func TestApproverLeavesBeforeTheMinting(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	w.Stop()
	w.SetPeople(w.bob, w.dave, brokertest.NewPerson(t, "carol", "sre")) // a carol with another key
	w.Start()
	w.agent = w.AgentClient(brokertest.Agent)
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	wantRecord(t, w.Harness, "issuance.refused", "NEEDS_APPROVAL")
	w.Stop()
	w.SetPeople(w.bob, w.carol)
	w.Start()
	w.agent = w.AgentClient(brokertest.Agent)
	if _, err := w.mint(t, "mint-key-2"); err != nil {
		t.Error(err)
	}
}

// A request outlives the broker, with what people have said of it.
func TestRequestsOutliveTheBroker(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.Stop()
	w.Start()
	w.agent = w.AgentClient(brokertest.Agent)
	w.decide(t, w.carol, evidence.Approve)
	if _, err := w.mint(t, "mint-key-1"); err != nil {
		t.Error(err)
	}
}

// What the scope gives has changed since people looked: their yes is of
// something else.
func TestChangedScopeIsNotWhatWasApproved(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	edit(t, w.Harness, "s3-bucket-rebuild", func(s string) string { return strings.Replace(s, "s3:CreateBucket, ", "", 1) })
	if _, err := w.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "STALE_SCOPE_VERSION")
}

func TestAFrozenAgentMintsNothingThatWasApproved(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	if _, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: true, KeepLive: true, Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
}

// A no ends what was approved, too, with what was minted from it.
func TestANoAfterTheYes(t *testing.T) {
	for name, minted := range map[string]bool{"before the minting": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			w := waiting(t, brokertest.Config{})
			w.decide(t, w.bob, evidence.Approve)
			w.decide(t, w.carol, evidence.Approve)
			if minted {
				if _, err := w.mint(t, "mint-key-1"); err != nil {
					t.Fatal(err)
				}
			}
			w.decide(t, w.carol, evidence.Reject)
			_, err := w.mint(t, "mint-key-2")
			wantReason(t, err, codes.PermissionDenied, "REJECTED")
			brokertest.Eventually(t, "nothing works upstream", func() bool { return w.Minter.Live() == 0 })
		})
	}
}

// A freeze of a person stops their decisions, those they have taken too. Where it keeps
// what is live, that counts again once they do.
func TestFrozenApprover(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	freeze := func(frozen bool) {
		t.Helper()
		if _, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: w.bob.ID, Frozen: frozen, KeepLive: true, Cause: "a stolen key"}); err != nil {
			t.Fatal(err)
		}
	}
	freeze(true)
	_, err := w.Decide(w.bob, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
	wantRecord(t, w.Harness, "refusal.recorded", "FROZEN")
	freeze(false)
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	freeze(true)
	_, err = w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	freeze(false)
	if _, err := w.mint(t, "mint-key-2"); err != nil {
		t.Error(err)
	}
}

// What one delegate asked for, nobody else mints.
func TestTheDelegateIsApprovedToo(t *testing.T) {
	bob, carol := brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")
	h := brokertest.New(t, brokertest.Config{
		People: []brokertest.Person{bob, carol}, Delegates: []identity.Delegate{{ID: delegate, Agents: []string{"/agent/{user}/{session}"}}},
	})
	own, via := h.AgentClient(brokertest.Agent), h.AgentClient(delegate)
	ctx := metadata.AppendToOutgoingContext(t.Context(), valetkeyv1.OnBehalfOfAgent, brokertest.Agent)
	task := openTask(t, own, "task-key-1")
	resp, err := via.RequestGrant(ctx, rebuild(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	grant := resp.GetGrant().GetId()
	for _, p := range []brokertest.Person{bob, carol} {
		w, err := h.Decide(p, grant, evidence.Approve)
		if err != nil || !strings.Contains(w.GetEnvelope(), `"delegate":"`+delegate+`"`) {
			t.Fatalf("%v: %v", w, err)
		}
	}
	_, err = own.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: grant})
	wantReason(t, err, codes.PermissionDenied, "DENIED")
	if _, err := via.MintCredential(ctx, &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-2", GrantId: grant}); err != nil {
		t.Error(err)
	}
}

// A policy that allows less than it did when people approved is a refusal.
func TestPolicyShortensWhatWasApproved(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	file := filepath.Join(w.Catalog, "policies", "storage.cedar")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	more := "\n@id(\"short\")\n@reason(\"short\")\nforbid (principal, action == Valetkey::Action::\"s3-bucket-rebuild\", resource) when { context.ttl_seconds > 60 };\n"
	if err := os.WriteFile(file, append(raw, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.OperatorClient().ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err = w.mint(t, "mint-key-1")
	wantReason(t, err, codes.PermissionDenied, "DENIED")
	wantRecord(t, w.Harness, "issuance.refused", "DENIED")
}

// Who approves again with another key, since the first is no longer listed, counts.
func TestApprovingAgainWithAnotherKey(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.Stop()
	bob := brokertest.NewPerson(t, "bob", "sre")
	w.SetPeople(bob, w.carol)
	w.Start()
	w.agent = w.AgentClient(brokertest.Agent)
	w.decide(t, w.carol, evidence.Approve)
	w.decide(t, bob, evidence.Approve)
	if _, err := w.mint(t, "mint-key-1"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(w.Records(), " "); strings.Count(got, `"approver_keys":{"bob":["SHA256:`) != 2 {
		t.Error("the record does not say whose keys counted when")
	}
}

// Somebody is frozen between the decision and the credential.
func TestApproverFrozenWhileMinting(t *testing.T) {
	for name, tc := range map[string]struct {
		keepLive bool
		reason   string
	}{"and what is live ends": {false, "GRANT_ENDED"}, "and what is live is kept": {true, "NEEDS_APPROVAL"}} {
		t.Run(name, func(t *testing.T) {
			w := waiting(t, brokertest.Config{})
			w.decide(t, w.bob, evidence.Approve)
			w.decide(t, w.carol, evidence.Approve)
			w.Minter.Set(func(m *brokertest.Minter) {
				m.BeforeMint = func(mint.Order) error {
					_, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{
						AgentSpiffeId: w.bob.ID, Frozen: true, KeepLive: tc.keepLive, Cause: "a stolen key",
					})
					return err
				}
			})
			got, err := w.mint(t, "mint-key-1")
			wantReason(t, err, codes.FailedPrecondition, tc.reason)
			if got.GetCredential() != nil {
				t.Error("it was delivered")
			}
			brokertest.Eventually(t, "nothing works upstream", func() bool { return w.Minter.Live() == 0 })
			wantRecord(t, w.Harness, "issuance.orphaned", tc.reason)
		})
	}
}

// Votes that count again clear what they are enough for, once anybody repeats theirs.
func TestAThawedApprover(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	freeze := func(frozen bool) {
		t.Helper()
		if _, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: w.bob.ID, Frozen: frozen, Cause: "a lost laptop"}); err != nil {
			t.Fatal(err)
		}
	}
	w.decide(t, w.bob, evidence.Approve)
	freeze(true)
	w.decide(t, w.carol, evidence.Approve)
	freeze(false)
	w.decide(t, w.carol, evidence.Approve)
	if _, err := w.mint(t, "mint-key-1"); err != nil {
		t.Error(err)
	}
	freeze(true)
	r := rebuild(w.task, "frozen-key-1")
	r.Parameters["bucket"] = vals("other")
	_, err := w.agent.RequestGrant(t.Context(), r)
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL") // carol alone is left
}
