package brokertest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/brokertest"
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
	want := "broker.started task.opened grant.pending approval.given approval.given grant.cleared issuance.intended issuance.issued"
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
			if c.on != "" && strings.Contains(c.on, "carol") {
				wantReason(t, err, codes.FailedPrecondition, "NEEDS_APPROVAL") // bob alone is left
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.Decide(all[c.who], resp.GetGrant().GetId(), evidence.Approve)
			wantReason(t, err, codes.PermissionDenied, "NOT_ELIGIBLE")
			list, err := h.ApproverClient(all[c.who]).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
			if err != nil || len(list.GetPending()) != 0 {
				t.Errorf("it is in their list: %v %v", list, err)
			}
			if list, err := h.ApproverClient(all[0]).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{}); err != nil || len(list.GetPending()) != 1 {
				t.Errorf("it is not in the other's: %v %v", list, err)
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
	if !strings.Contains(err.Error(), "1 of group sre could approve it here, and 2 have to") {
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
	for i, want := range []string{"", "", "RATE_LIMITED"} {
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
		People: []brokertest.Person{bob, carol, soft, touched, lying}, Board: approval.Config{Hardware: []string{"destructive"}},
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
	w := waiting(t, brokertest.Config{Board: approval.Config{Hardware: []string{"destructive"}}})
	w.decide(t, w.bob, evidence.Reject)
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
