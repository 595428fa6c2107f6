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

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
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

func (w *world) state() valetkeyv1.GrantState { return w.State(w.grant.GetId()) }

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
	if w.state() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
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
	if w.state() != valetkeyv1.GrantState_GRANT_STATE_REJECTED {
		t.Error(w.state())
	}
	wantRecord(t, w.Harness, "approval.refused", "")
	wantRecord(t, w.Harness, "grant.rejected", "")
}

func TestARequestLapses(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	w.decide(t, w.bob, evidence.Approve)
	w.Clock.Add(quorum.DefaultWait + time.Second)
	_, err := w.Decide(w.carol, w.grant.GetId(), evidence.Approve)
	wantReason(t, err, codes.FailedPrecondition, "NOT_PENDING")
	brokertest.Eventually(t, "it has lapsed", func() bool { return w.state() == valetkeyv1.GrantState_GRANT_STATE_LAPSED })
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
	brokertest.Eventually(t, "it has expired", func() bool { return w.state() == valetkeyv1.GrantState_GRANT_STATE_EXPIRED })
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
