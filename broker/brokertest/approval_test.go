package brokertest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/jcs"
)

// rebuild is a request that two of group sre have to approve.
func rebuild(task, key string) *valetkeyv1.RequestGrantRequest {
	return &valetkeyv1.RequestGrantRequest{
		IdempotencyKey: key, TaskId: task, Scope: "s3-bucket-rebuild", Mint: true, Justification: "the layout is broken",
		Parameters: map[string]*valetkeyv1.Value{"bucket": vals("prod")},
	}
}

// world is a broker with people, an agent with a task, and one request of theirs.
type world struct {
	*brokertest.Harness
	bob, carol, dave brokertest.Person
	agent            valetkeyv1.AgentServiceClient
	task             string
	grant            *valetkeyv1.Grant
}

func waiting(t *testing.T, cfg brokertest.Config) *world {
	t.Helper()
	w := &world{
		bob: brokertest.NewPerson(t, "bob", "sre"), carol: brokertest.NewPerson(t, "carol", "sre", "security"),
		dave: brokertest.NewPerson(t, "dave", "security"),
	}
	if cfg.People == nil {
		cfg.People = []brokertest.Person{w.bob, w.carol, w.dave}
	}
	w.Harness = brokertest.New(t, cfg)
	w.agent = w.AgentClient(brokertest.Agent)
	w.task = openTask(t, w.agent, "task-key-1")
	w.grant = w.ask(t, "rebuild-1")
	return w
}

func (w *world) ask(t *testing.T, key string) *valetkeyv1.Grant {
	t.Helper()
	resp, err := w.agent.RequestGrant(t.Context(), rebuild(w.task, key))
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetCredential() != nil || resp.GetGrant().GetState() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
		t.Fatalf("%v", resp)
	}
	return resp.GetGrant()
}

func (w *world) mint(t *testing.T, key string) (*valetkeyv1.MintCredentialResponse, error) {
	t.Helper()
	return w.agent.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: key, GrantId: w.grant.GetId()})
}

func (w *world) state(t *testing.T) valetkeyv1.GrantState {
	t.Helper()
	g, err := w.OperatorClient().GetGrant(t.Context(), &valetkeyv1.GetGrantRequest{GrantId: w.grant.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	return g.GetGrant().GetState()
}

func (w *world) decide(t *testing.T, p brokertest.Person, d evidence.Decision) *valetkeyv1.PendingGrant {
	t.Helper()
	out, err := w.Decide(p, w.grant.GetId(), d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTwoPeopleClearARequest(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	wantRecord(t, w.Harness, "issuance.refused", "NEEDS_APPROVAL")

	first := w.decide(t, w.bob, evidence.Approve)
	if l := first.GetLacking(); len(l) != 1 || l[0].GetGroup() != "sre" || l[0].GetApprovals() != 1 {
		t.Errorf("lacking %v", l)
	}
	_, err = w.mint(t, "mint-key-2")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	w.decide(t, w.bob, evidence.Approve) // one person counts once
	if w.state(t) != valetkeyv1.GrantState_GRANT_STATE_PENDING {
		t.Fatal("one person was enough")
	}

	w.Clock.Add(2 * time.Minute)
	last := w.decide(t, w.carol, evidence.Approve)
	if g := last.GetGrant(); g.GetState() != valetkeyv1.GrantState_GRANT_STATE_CLEARED || len(last.GetLacking()) != 0 ||
		!g.GetExpiresAt().AsTime().Equal(w.Clock.Now().Add(5*time.Minute).UTC()) {
		t.Errorf("%v", last)
	}
	got, err := w.mint(t, "mint-key-3")
	if err != nil || got.GetCredential().GetAws().GetSecretAccessKey() == "" {
		t.Fatal(got, err)
	}
	want := "broker.started task.opened grant.pending issuance.refused approval.given issuance.refused approval.given grant.cleared issuance.intended issuance.issued"
	if got := typesOf(t, w.Harness); got != want {
		t.Errorf("records %s", got)
	}
}

// What is on the record proves the approval to somebody who has the ledger and
// the people's public keys, and nothing else.
func TestApprovalsVerifyFromTheLedger(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	keys := map[string]ssh.PublicKey{"bob": w.bob.Signer.PublicKey(), "carol": w.carol.Signer.PublicKey()}
	digest, seen := "", 0
	for _, raw := range w.Records() {
		var r struct {
			Type      string
			Envelope  json.RawMessage
			Digest    string `json:"envelope_digest"`
			Approver  string
			Statement string `json:"approval_statement"`
			Signature string `json:"approval_signature"`
		}
		if err := json.Unmarshal([]byte(raw), &r); err != nil {
			t.Fatal(err)
		}
		switch r.Type {
		case "grant.pending":
			envelope, err := jcs.Marshal(r.Envelope)
			if digest = evidence.Digest(envelope); err != nil || digest != r.Digest {
				t.Errorf("the envelope on the record has digest %s, not %s: %v", digest, r.Digest, err)
			}
		case "approval.given":
			s, err := evidence.Parse([]byte(r.Statement))
			if err != nil || s.EnvelopeDigest != digest || s.Person != r.Approver || s.Decision != evidence.Approve {
				t.Errorf("%+v: %v", s, err)
			}
			if _, err := evidence.Check([]byte(r.Statement), r.Signature, []ssh.PublicKey{keys[r.Approver]}); err != nil {
				t.Error(err)
			}
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("%d approvals on the record", seen)
	}
}

func TestOneNoEndsARequest(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.bob, evidence.Reject) // who thinks better of it
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.PermissionDenied, "REJECTED")
	_, err = w.Decide(w.carol, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	_, err = w.Decide(w.carol, w.grant.GetId(), evidence.Reject)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	wantRecord(t, w.Harness, "issuance.refused", "REJECTED")
	if w.state(t) != valetkeyv1.GrantState_GRANT_STATE_REJECTED {
		t.Error(w.state(t))
	}
	wantRecord(t, w.Harness, "approval.refused", "")
	wantRecord(t, w.Harness, "grant.rejected", "")
}

func TestARequestLapses(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.Clock.Add(approval.DefaultWait + time.Second)
	_, err := w.Decide(w.carol, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	brokertest.Eventually(t, "it has lapsed", func() bool { return w.state(t) == valetkeyv1.GrantState_GRANT_STATE_LAPSED })
	_, err = w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "LAPSED")
	wantRecord(t, w.Harness, "grant.lapsed", "")
}

// The life that was approved begins with the approval, and ends all the same.
func TestAnApprovedRequestExpires(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	w.Clock.Add(5*time.Minute + time.Second)
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "GRANT_ENDED")
	brokertest.Eventually(t, "it has expired", func() bool { return w.state(t) == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
}

func TestForgedApprovals(t *testing.T) {
	mallory := brokertest.NewPerson(t, "mallory")
	w := waiting(t, brokertest.Config{})
	other := func() *valetkeyv1.Grant {
		r := rebuild(w.task, "rebuild-2")
		r.Parameters["bucket"] = vals("other")
		resp, err := w.agent.RequestGrant(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetGrant()
	}()
	bob := w.ApproverClient(w.bob)
	got, err := bob.GetPendingGrant(t.Context(), &valetkeyv1.GetPendingGrantRequest{GrantId: w.grant.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	good := w.bob.Statement(got.GetPending(), evidence.Approve)
	change := func(f func(*evidence.Statement)) *valetkeyv1.SubmitApprovalRequest {
		s := good
		f(&s)
		r := w.bob.Sign(t, s)
		r.GrantId = w.grant.GetId()
		return r
	}
	text, err := good.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	raw := func(statement, signature string) *valetkeyv1.SubmitApprovalRequest {
		return &valetkeyv1.SubmitApprovalRequest{GrantId: w.grant.GetId(), Statement: []byte(statement), Signature: signature}
	}
	signed := func(statement string) *valetkeyv1.SubmitApprovalRequest {
		return raw(statement, w.bob.Signature(t, []byte(statement), evidence.Namespace))
	}
	for name, r := range map[string]*valetkeyv1.SubmitApprovalRequest{
		"another broker's":          change(func(s *evidence.Statement) { s.Broker = "other.example/log" }),
		"another grant's":           change(func(s *evidence.Statement) { s.Grant = other.GetId() }),
		"another digest's":          change(func(s *evidence.Statement) { s.EnvelopeDigest = other.GetEnvelopeDigest() }),
		"another nonce's":           change(func(s *evidence.Statement) { s.Nonce = evidence.NewNonce() }),
		"in another's name":         change(func(s *evidence.Statement) { s.Person = "carol" }),
		"signed by another":         raw(string(text), w.carol.Signature(t, text, evidence.Namespace)),
		"signed by nobody we know":  raw(string(text), mallory.Signature(t, text, evidence.Namespace)),
		"in another namespace":      raw(string(text), w.bob.Signature(t, text, "git")),
		"of another text":           raw(string(text), w.bob.Signature(t, []byte("{}"), evidence.Namespace)),
		"not canonical":             signed(" " + string(text)),
		"with an unknown key":       signed(strings.Replace(string(text), `"v":1`, `"v":1,"x":1`, 1)),
		"with a key twice":          signed(strings.Replace(string(text), `"v":1`, `"v":1,"v":1`, 1)),
		"of another version":        signed(strings.Replace(string(text), `"v":1`, `"v":2`, 1)),
		"with an unknown decision":  signed(strings.Replace(string(text), `"approve"`, `"approved"`, 1)),
		"with something after it":   signed(string(text) + "{}"),
		"with a broken signature":   raw(string(text), "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"),
		"with an empty PEM":         raw(string(text), "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"),
		"with no signature at all":  raw(string(text), "no"),
		"with a statement too long": change(func(s *evidence.Statement) { s.Comment = strings.Repeat("x", 1024) }),
	} {
		if name == "with a statement too long" {
			r.Statement = []byte(strings.Replace(string(r.GetStatement()), "xxx", "xxxxxx", 1))
		}
		_, err := bob.SubmitApproval(t.Context(), r)
		if reasonOf(err) != "INVALID_APPROVAL" {
			t.Errorf("an approval %s: %v", name, err)
		}
	}
	// What bob has signed is nobody else's to send.
	_, err = w.ApproverClient(w.carol).SubmitApproval(t.Context(), w.bob.Sign(t, good))
	wantReason(t, err, codes.InvalidArgument, "INVALID_APPROVAL")
	if has(t, w.Harness, "approval.given", "") || w.state(t) != valetkeyv1.GrantState_GRANT_STATE_PENDING {
		t.Error("a forged approval counts")
	}
}

func TestWhoMayNotApprove(t *testing.T) {
	people := func(t *testing.T, change func(*brokertest.Person)) []brokertest.Person {
		out := []brokertest.Person{brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre"), brokertest.NewPerson(t, "dan", "sre"), brokertest.NewPerson(t, "eve", "security")}
		change(&out[2])
		return out
	}
	for name, c := range map[string]struct {
		who    int
		change func(*brokertest.Person)
		on     string
	}{
		"who is in no group that is needed":    {who: 3},
		"whose name the agent's path has":      {who: 2, change: func(p *brokertest.Person) { p.Name = "alice" }},
		"whose alias the agent's path has":     {who: 2, change: func(p *brokertest.Person) { p.Aliases = []string{"Alice@example.com"} }},
		"on whose behalf the agent acts":       {who: 2, on: "dan"},
		"whose address the agent acts for":     {who: 2, on: "Dan D. <DAN@example.com>"},
		"of whom the agent's text also speaks": {who: 2, on: "ticket 7, for carol and dan"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*brokertest.Person) {}
			}
			all := people(t, c.change)
			h := brokertest.New(t, brokertest.Config{People: all})
			a := h.AgentClient(brokertest.Agent)
			task, err := a.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production", OnBehalfOf: c.on})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := a.RequestGrant(t.Context(), rebuild(task.GetTask().GetId(), "rebuild-1"))
			if err != nil {
				t.Fatal(err)
			}
			grant := resp.GetGrant().GetId()
			_, err = h.Decide(all[c.who], grant, evidence.Approve)
			wantReason(t, err, codes.PermissionDenied, "NOT_ELIGIBLE")
			list := func(p brokertest.Person) []*valetkeyv1.PendingGrant {
				resp, err := h.ApproverClient(p).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
				if err != nil {
					t.Fatal(err)
				}
				return resp.GetPending()
			}
			if len(list(all[0])) != 1 {
				t.Error("it is not in the others' list")
			}
			if c.who == 3 { // whom it does not concern
				if len(list(all[3])) != 0 {
					t.Error("it is in the list of who is in no group that is needed")
				}
				_, err := h.Decide(all[3], grant, evidence.Reject)
				wantReason(t, err, codes.PermissionDenied, "NOT_ELIGIBLE")
				return
			}
			// To name somebody takes their yes, and neither their sight of it nor their no.
			if mine := list(all[c.who]); len(mine) != 1 || !slices.Contains(mine[0].GetBarred(), all[c.who].Name) {
				t.Errorf("it is not in their list as what they may reject: %v", mine)
			}
			if _, err := h.Decide(all[c.who], grant, evidence.Reject); err != nil {
				t.Error(err)
			}
		})
	}
}

// Only people on the list reach the service, and people are no operators.
func TestApprovalServiceIsForPeople(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	for _, id := range []string{brokertest.Agent, brokertest.Operator} {
		_, err := valetkeyv1.NewApprovalServiceClient(w.Dial(id)).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
		wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	}
	_, err := valetkeyv1.NewOperatorServiceClient(w.Dial(w.bob.ID)).ListGrants(t.Context(), &valetkeyv1.ListGrantsRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	_, err = w.ApproverClient(w.bob).GetPendingGrant(t.Context(), &valetkeyv1.GetPendingGrantRequest{GrantId: "grant_00000000000000000000000000"})
	wantReason(t, err, codes.NotFound, "GRANT_NOT_FOUND")
}

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
	w := waiting(t, brokertest.Config{Board: approval.Config{Pending: 3}})
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

func TestTheEndOfATaskEndsWhatWaits(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	resp, err := w.agent.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: w.task})
	if err != nil || !slices.Equal(resp.GetEndedGrantIds(), []string{w.grant.GetId()}) {
		t.Fatal(resp, err)
	}
	_, err = w.Decide(w.bob, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
}

func TestAFrozenAgentMintsNothingThatWasApproved(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	if _, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: true, Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	_, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.PermissionDenied, "FROZEN")
}

// Where the tier asks for hardware, a key in a file is not enough, and neither is
// a touch by whoever passes by.
func TestHardwareTiers(t *testing.T) {
	full := byte(brokertest.Touched | brokertest.Verified)
	bob, carol := brokertest.NewHardwarePerson(t, "bob", full, "sre"), brokertest.NewHardwarePerson(t, "carol", full, "sre")
	soft, touched, lying := brokertest.NewPerson(t, "dan", "sre"), brokertest.NewHardwarePerson(t, "erin", brokertest.Touched, "sre"), brokertest.NewHardwarePerson(t, "frank", brokertest.Verified, "sre")
	w := waiting(t, brokertest.Config{
		People: []brokertest.Person{bob, carol, soft, touched, lying}, Board: approval.Config{Hardware: "destructive"},
	})
	for _, p := range []brokertest.Person{soft, touched, lying} {
		_, err := w.Decide(p, w.grant.GetId(), evidence.Approve)
		wantReason(t, err, codes.InvalidArgument, "INVALID_APPROVAL")
	}
	w.decide(t, bob, evidence.Approve)
	w.decide(t, carol, evidence.Approve)
	if _, err := w.mint(t, "mint-key-1"); err != nil {
		t.Error(err)
	}
}

// Anybody who may approve can say no with the key they have.
func TestRejectingNeedsNoHardware(t *testing.T) {
	bob := brokertest.NewPerson(t, "bob", "sre")
	w := waiting(t, brokertest.Config{People: []brokertest.Person{
		brokertest.NewHardwarePerson(t, "x", brokertest.Touched|brokertest.Verified, "sre"), brokertest.NewHardwarePerson(t, "y", brokertest.Touched|brokertest.Verified, "sre"), bob,
	}, Board: approval.Config{Hardware: "write"}}) // from here up
	w.decide(t, bob, evidence.Reject)
	if w.state(t) != valetkeyv1.GrantState_GRANT_STATE_REJECTED {
		t.Error(w.state(t))
	}
}

// Two people decide in the same moment, many times over.
func TestVotesAtOnce(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	var wg sync.WaitGroup
	for _, p := range []brokertest.Person{w.bob, w.carol} {
		for range 4 {
			wg.Go(func() {
				if _, err := w.Decide(p, w.grant.GetId(), evidence.Approve); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if got := typesOf(t, w.Harness); strings.Count(got, "approval.given") != 2 || strings.Count(got, "grant.cleared") != 1 {
		t.Errorf("records %s", got)
	}
}

// A watcher sees the yes.
func TestWatchSeesTheApproval(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	stream, err := w.agent.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: w.grant.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []valetkeyv1.GrantState{valetkeyv1.GrantState_GRANT_STATE_PENDING, valetkeyv1.GrantState_GRANT_STATE_CLEARED} {
		g, err := stream.Recv()
		if err != nil || g.GetGrant().GetState() != want {
			t.Fatal(g, err)
		}
		if i == 0 {
			w.decide(t, w.bob, evidence.Approve)
			w.decide(t, w.carol, evidence.Approve)
		}
	}
}

// What an agent can see of its request names nobody who decided it.
func TestAgentsAreNotToldWhoDecided(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	_, err := w.mint(t, "mint-key-1")
	said := err.Error()
	w.decide(t, w.carol, evidence.Reject)
	_, err = w.mint(t, "mint-key-2")
	said += err.Error()
	stream, err := w.agent.WatchGrant(t.Context(), &valetkeyv1.WatchGrantRequest{GrantId: w.grant.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	g, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	said += g.String()
	for _, name := range []string{"bob", "carol", "dave", "/person/"} {
		if strings.Contains(said, name) {
			t.Errorf("the agent is told of %q: %s", name, said)
		}
	}
}

// The same is not asked for again right after people said no, in whatever task.
func TestCoolDownAfterANo(t *testing.T) {
	coolDown := 2 * time.Minute
	w := waiting(t, brokertest.Config{Board: approval.Config{CoolDown: &coolDown}})
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

// A freeze of a person stops their decisions, those they have taken too.
func TestFrozenApprover(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	freeze := func(frozen bool) {
		t.Helper()
		if _, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: w.bob.ID, Frozen: frozen, Cause: "a stolen key"}); err != nil {
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

// What is answered costs a token and is on the record, so that nobody can ask for
// ever.
func TestAskingInVainIsThrottled(t *testing.T) {
	w := waiting(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1, Burst: 6}, Board: approval.Config{Pending: 1}}) // two tokens are gone
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
		Board:     approval.Config{Pending: 1},
		Delegates: []identity.Delegate{{ID: delegate, Agents: []string{"/agent/{user}/{session}"}}},
	})
	c := h.AgentClient(delegate)
	got := map[string]int{}
	for i := range approval.PerDelegate + 2 {
		ctx := metadata.AppendToOutgoingContext(t.Context(), valetkeyv1.OnBehalfOfAgent, fmt.Sprintf("spiffe://%s/agent/user%d/s", brokertest.TrustDomain, i))
		task, err := c.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.RequestGrant(ctx, rebuild(task.GetTask().GetId(), "grant-key-1"))
		got[reasonOf(err)]++
	}
	if got[""] != approval.PerDelegate || got["RATE_LIMITED"] != 2 {
		t.Errorf("answers %v", got)
	}
	if _, err := h.AgentClient(brokertest.Agent).RequestGrant(t.Context(), rebuild(openTask(t, h.AgentClient(brokertest.Agent), "task-key-1"), "grant-key-1")); err != nil {
		t.Errorf("an agent of its own: %v", err)
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

// What was asked for while the clock was ahead does not wait for longer.
func TestRequestOfAClockThatWasAhead(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.Clock.Add(2 * time.Minute)
	r := rebuild(w.task, "ahead-key-1")
	r.Parameters["bucket"] = vals("ahead")
	resp, err := w.agent.RequestGrant(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.Clock.Add(-2 * time.Minute)
	_, err = w.Decide(w.bob, resp.GetGrant().GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
}

// Whoever decides does not ask.
func TestApproversAreNoAgents(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	_, err := w.AgentClient(w.bob.ID).OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production"})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}

// A list comes in pages, and no page is too long for a message.
func TestManyRequests(t *testing.T) {
	w := waiting(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1000, Burst: 1000}, Board: approval.Config{Pending: 150}})
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

// Somebody is frozen between the decision and the credential.
func TestApproverFrozenWhileMinting(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.decide(t, w.carol, evidence.Approve)
	w.Minter.Set(func(m *brokertest.Minter) {
		m.BeforeMint = func(mint.Order) error {
			_, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: w.bob.ID, Frozen: true, Cause: "a stolen key"})
			return err
		}
	})
	got, err := w.mint(t, "mint-key-1")
	wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL")
	if got.GetCredential() != nil {
		t.Error("it was delivered")
	}
	brokertest.Eventually(t, "nothing works upstream", func() bool { return w.Minter.Live() == 0 })
	wantRecord(t, w.Harness, "issuance.orphaned", "NEEDS_APPROVAL")
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

// A repeat is told what the first call was told.
func TestRefusalsAreRepeated(t *testing.T) {
	w := waiting(t, brokertest.Config{Board: approval.Config{Pending: 1}})
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
