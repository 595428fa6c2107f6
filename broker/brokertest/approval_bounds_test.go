package brokertest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Nobody waits for people who cannot be enough.
func TestUnreachableIsRefusedAtOnce(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{People: []brokertest.Person{brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "dave", "security")}})
	c := h.AgentClient(brokertest.Agent)
	_, err := c.RequestGrant(t.Context(), rebuild(openTask(t, c, "task-key-1"), "rebuild-1"))
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	if !strings.Contains(err.Error(), "fewer people are listed who could approve it") {
		t.Error(err)
	}
	wantRecord(t, h, "grant.needs_approval", "NEEDS_APPROVAL")
}

// People are asked once for the same, and not for ever more.
func TestPeopleAreNotFlooded(t *testing.T) {
	w := waiting(t, brokertest.Config{Directory: quorum.Config{Pending: 3}})
	if again := w.ask(t, "rebuild-again"); again.GetId() != w.grant.GetId() {
		t.Error("the same request waits twice")
	}
	if repeat := w.ask(t, "rebuild-1"); repeat.GetId() != w.grant.GetId() {
		t.Error("a repeat is another request")
	}
	session := w.AgentClient("spiffe://" + brokertest.TrustDomain + "/agent/alice/s2") // no new budget
	task := openTask(t, session, "task-key-2")
	for i, want := range []string{"", "", "RATE_LIMITED", "RATE_LIMITED"} {
		r := rebuild(task, "more-"+strings.Repeat("x", 8+i))
		r.Parameters["bucket"] = vals("bucket-" + strings.Repeat("x", i+1))
		if _, err := session.RequestGrant(t.Context(), r); reasonOf(err) != want {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if n := strings.Count(typesOf(t, w.Harness), "grant.pending"); n != 3 {
		t.Errorf("%d requests wait", n)
	}
	if _, err := w.agent.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: w.grant.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Decide(w.bob, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	r := rebuild(task, "more-after")
	r.Parameters["bucket"] = vals("bucket-after")
	if _, err := session.RequestGrant(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// The same is not asked for again right after people said no, in whatever task.
func TestCoolDownAfterANo(t *testing.T) {
	coolDown := 2 * time.Minute
	w := waiting(t, brokertest.Config{Directory: quorum.Config{CoolDown: &coolDown}})
	w.decide(t, w.bob, evidence.Reject)
	task := openTask(t, w.agent, "task-key-2")
	_, err := w.agent.RequestGrant(t.Context(), rebuild(task, "again-key-1"))
	wantReason(t, err, codes.PermissionDenied, "REJECTED")
	wantRecord(t, w.Harness, "grant.denied", "REJECTED")
	r := rebuild(task, "other-key-1")
	r.Parameters["bucket"] = vals("other")
	if _, err := w.agent.RequestGrant(t.Context(), r); err != nil {
		t.Errorf("something else: %v", err)
	}
	w.Clock.Add(coolDown + time.Second)
	if _, err := w.agent.RequestGrant(t.Context(), rebuild(task, "again-key-2")); err != nil {
		t.Errorf("after the cool-down: %v", err)
	}
}

// What is answered costs a token and is on the record, so that nobody can ask for
// ever.
func TestAskingInVainIsThrottled(t *testing.T) {
	w := waiting(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1, Burst: 6}, Directory: quorum.Config{Pending: 1}}) // two tokens are gone
	for i, want := range []string{"NEEDS_APPROVAL", "NEEDS_APPROVAL", "RATE_LIMITED"} {
		if _, err := w.mint(t, fmt.Sprintf("mint-key-%d", i)); reasonOf(err) != want {
			t.Errorf("minting %d: %v", i, err)
		}
		if want == "RATE_LIMITED" {
			break
		}
		r := rebuild(w.task, fmt.Sprintf("grant-key-%d", i))
		r.Parameters["bucket"] = vals(fmt.Sprintf("bucket-%d", i))
		if _, err := w.agent.RequestGrant(t.Context(), r); reasonOf(err) != "RATE_LIMITED" {
			t.Errorf("asking %d: %v", i, err)
		}
	}
	wantRecord(t, w.Harness, "grant.denied", "RATE_LIMITED")
}

// One delegate cannot have everybody's people busy, whomever it speaks for.
func TestADelegatesRequestsAreBounded(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{
		People:    []brokertest.Person{brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")},
		Directory: quorum.Config{Pending: 1},
		Delegates: []identity.Delegate{{ID: delegate, Agents: []string{"/agent/{user}/{session}"}}},
	})
	c := h.AgentClient(delegate)
	got := map[string]int{}
	for i := range quorum.PerDelegate + 2 {
		ctx := metadata.AppendToOutgoingContext(t.Context(), valetkeyv1.OnBehalfOfAgent, fmt.Sprintf("spiffe://%s/agent/user%d/s", brokertest.TrustDomain, i))
		task, err := c.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.RequestGrant(ctx, rebuild(task.GetTask().GetId(), "grant-key-1"))
		got[reasonOf(err)]++
	}
	if got[""] != quorum.PerDelegate || got["RATE_LIMITED"] != 2 {
		t.Errorf("answers %v", got)
	}
	if _, err := h.AgentClient(brokertest.Agent).RequestGrant(t.Context(), rebuild(openTask(t, h.AgentClient(brokertest.Agent), "task-key-1"), "grant-key-1")); err != nil {
		t.Errorf("an agent of its own: %v", err)
	}
}

// A list comes in pages, and no page is too long for a message.
func TestManyRequests(t *testing.T) {
	w := waiting(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1000, Burst: 1000}, Directory: quorum.Config{Pending: 150}})
	for i := range 120 {
		w.Clock.Add(time.Millisecond) // ids sort by it
		r := rebuild(w.task, fmt.Sprintf("many-key-%d", i))
		r.Parameters["bucket"], r.Justification = vals(fmt.Sprintf("bucket-%d", i)), strings.Repeat("x", 2048)
		if _, err := w.agent.RequestGrant(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	c := w.ApproverClient(w.bob)
	first, err := c.ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
	if err != nil || len(first.GetPending()) != 100 || first.GetPending()[0].GetGrant().GetId() != w.grant.GetId() || first.GetPending()[0].GetJustification() != "" {
		t.Fatalf("%d, %v", len(first.GetPending()), err)
	}
	last, err := c.ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{PageToken: first.GetNextPageToken()})
	if err != nil || len(last.GetPending()) != 21 || last.GetNextPageToken() != "" {
		t.Errorf("%d, %v", len(last.GetPending()), err)
	}
}

// A no is to all that is the same, in whatever task it waits.
func TestANoIsToAllThatIsTheSame(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	resp, err := w.agent.RequestGrant(t.Context(), rebuild(openTask(t, w.agent, "task-key-2"), "same-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	r := rebuild(w.task, "other-key-1")
	r.Parameters["bucket"] = vals("other")
	other, err := w.agent.RequestGrant(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.decide(t, w.bob, evidence.Reject)
	_, err = w.Decide(w.carol, resp.GetGrant().GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	if _, err := w.Decide(w.carol, other.GetGrant().GetId(), evidence.Approve); err != nil {
		t.Errorf("something else: %v", err)
	}
}

// A repeat is told what the first call was told.
func TestRefusalsAreRepeated(t *testing.T) {
	w := waiting(t, brokertest.Config{Directory: quorum.Config{Pending: 1}})
	r := rebuild(w.task, "many-key-1")
	r.Parameters["bucket"] = vals("other")
	for range 2 {
		_, err := w.agent.RequestGrant(t.Context(), r)
		wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	}
	w.decide(t, w.bob, evidence.Reject)
	for range 2 {
		_, err := w.agent.RequestGrant(t.Context(), rebuild(w.task, "again-key-1"))
		wantReason(t, err, codes.PermissionDenied, "REJECTED")
	}
}
