package brokertest_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestNamingSomebodyLeavesNobodyOut has an agent name one of those who could approve,
// in all ways in which it could write the name. Whatever the others say is not enough
// without the named one, whose yes stands in for nobody's.
func TestNamingSomebodyLeavesNobodyOut(t *testing.T) {
	for name, on := range map[string]string{
		"by name": "dan", "by address": "Dan D. <DAN@example.com>", "in a text": "ticket 7, for dan and zoe", "by ID": "spiffe://example.org/person/dan",
	} {
		t.Run(name, func(t *testing.T) {
			w := named(t, on)
			for i := range 2 {
				if left := w.decide(t, i, evidence.Approve).GetLacking(); len(left) != 2-i || left[0].GetGroup() != "any" {
					t.Errorf("after %d yes it lacks %v", i+1, left)
				}
			}
			err := w.mint(t, "before-dan-1")
			wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
			if strings.Contains(err.Error(), "dan") {
				t.Errorf("the agent is told who it is: %v", err)
			}
			seen := w.decide(t, 2, evidence.Approve)
			if got := seen.GetGrant().GetState(); got != valetkeyv1.GrantState_GRANT_STATE_CLEARED || !slices.Equal(seen.GetNamed(), []string{"dan"}) || len(seen.GetGroups()) != 0 {
				t.Errorf("with dan's yes it is %v, names %v, and dan's counts for %v", got, seen.GetNamed(), seen.GetGroups())
			}
			if err := w.mint(t, "after-dan-1"); err != nil {
				t.Error(err)
			}
			for _, r := range w.Records() {
				if strings.Contains(r, `"grant.cleared"`) && !strings.Contains(r, `"approvals":{"any":2,"sre":2}`) {
					t.Errorf("dan is counted: %s", r)
				}
			}
		})
	}
}

// Whom the agent names can be the one who gains, and is no judge of it.
func TestTheNamedCountForNobody(t *testing.T) {
	w := named(t, "dan")
	w.decide(t, 2, evidence.Approve)
	left := w.decide(t, 0, evidence.Approve).GetLacking()
	if len(left) != 1 || left[0].GetGroup() != "sre" || left[0].GetApprovals() != 1 {
		t.Errorf("dan and one of sre leave %v", left)
	}
	err := w.mint(t, "one-of-sre")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
}

func TestTheNamedMayReject(t *testing.T) {
	w := named(t, "dan")
	w.decide(t, 0, evidence.Approve)
	w.decide(t, 1, evidence.Approve)
	w.decide(t, 2, evidence.Reject)
	err := w.mint(t, "after-dan-1")
	wantReason(t, err, codes.PermissionDenied, "REJECTED")
}

// An agent that names everybody waits for ever.
func TestNamingEverybodyClearsNothing(t *testing.T) {
	w := named(t, "bob, carol and dan")
	for i := range w.people {
		w.decide(t, i, evidence.Approve)
	}
	err := w.mint(t, "all-named-1")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
}

// trio is bob, carol and dan of sre, of whom two have to approve what an agent asks for.
type trio struct {
	*brokertest.Harness
	people []brokertest.Person
	agent  valetkeyv1.AgentServiceClient
	grant  string
}

// named has the agent ask on somebody's behalf.
func named(t *testing.T, on string) *trio {
	t.Helper()
	w := &trio{}
	for _, name := range []string{"bob", "carol", "dan"} {
		w.people = append(w.people, brokertest.NewPerson(t, name, "sre"))
	}
	w.Harness = brokertest.New(t, brokertest.Config{People: w.people})
	w.agent = w.AgentClient(brokertest.Agent)
	task, err := w.agent.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production", OnBehalfOf: on})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.agent.RequestGrant(t.Context(), rebuild(task.GetTask().GetId(), "rebuild-1"))
	if err != nil {
		t.Fatal(err)
	}
	w.grant = resp.GetGrant().GetId()
	return w
}

func (w *trio) decide(t *testing.T, who int, d evidence.Decision) *valetkeyv1.PendingGrant {
	t.Helper()
	out, err := w.Decide(w.people[who], w.grant, d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *trio) mint(t *testing.T, key string) error {
	t.Helper()
	_, err := w.agent.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: key, GrantId: w.grant})
	return err
}
