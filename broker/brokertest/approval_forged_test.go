package brokertest_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

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
		"for a group more":          change(func(s *evidence.Statement) { s.Groups = []string{"security", "sre"} }),
		"for another group":         change(func(s *evidence.Statement) { s.Groups = []string{"security"} }),
		"for no group":              change(func(s *evidence.Statement) { s.Groups = nil }),
		"of a time to come":         change(func(s *evidence.Statement) { s.SignedAt = s.SignedAt.Add(2 * time.Minute) }),
		"of before it was asked":    change(func(s *evidence.Statement) { s.SignedAt = s.SignedAt.Add(-2 * time.Minute) }),
		"of after the lapse":        change(func(s *evidence.Statement) { s.SignedAt = s.LapsesAt }),
		"with another lapse":        change(func(s *evidence.Statement) { s.LapsesAt = s.LapsesAt.Add(time.Hour) }),
		"signed by another":         raw(string(text), w.carol.Signature(t, text, evidence.Namespace)),
		"signed by nobody we know":  raw(string(text), mallory.Signature(t, text, evidence.Namespace)),
		"in another namespace":      raw(string(text), w.bob.Signature(t, text, "git")),
		"of another text":           raw(string(text), w.bob.Signature(t, []byte("{}"), evidence.Namespace)),
		"not canonical":             signed(" " + string(text)),
		"with an unknown key":       signed(strings.Replace(string(text), `"v":2`, `"v":2,"x":1`, 1)),
		"with a key twice":          signed(strings.Replace(string(text), `"v":2`, `"v":2,"v":2`, 1)),
		"of another version":        signed(strings.Replace(string(text), `"v":2`, `"v":1`, 1)),
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
	if has(t, w.Harness, "approval.given", "") || w.state() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
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
		"who is in no group that is needed": {who: 3},
		"whose name the agent's path has":   {who: 2, change: func(p *brokertest.Person) { p.Name = "alice" }},
		"whose alias the agent's path has":  {who: 2, change: func(p *brokertest.Person) { p.Aliases = []string{"Alice@example.com"} }},
		"who is in the path and named too":  {who: 2, change: func(p *brokertest.Person) { p.Name = "alice" }, on: "alice"},
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
			// They see it, and their no counts.
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
	_, err := valetkeyv1.NewOperatorServiceClient(w.Dial(w.bob.ID)).ListGrants(t.Context(), &valetkeyv1.OperatorServiceListGrantsRequest{})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
	_, err = w.ApproverClient(w.bob).GetPendingGrant(t.Context(), &valetkeyv1.GetPendingGrantRequest{GrantId: "grant_00000000000000000000000000"})
	wantReason(t, err, codes.NotFound, "GRANT_NOT_FOUND")
}

// Where the tier asks for hardware, a key in a file is not enough, and neither is
// a touch by whoever passes by.
func TestHardwareTiers(t *testing.T) {
	full := byte(brokertest.Touched | brokertest.Verified)
	bob, carol := brokertest.NewHardwarePerson(t, "bob", full, "sre"), brokertest.NewHardwarePerson(t, "carol", full, "sre")
	soft, touched, lying := brokertest.NewPerson(t, "dan", "sre"), brokertest.NewHardwarePerson(t, "erin", brokertest.Touched, "sre"), brokertest.NewHardwarePerson(t, "frank", brokertest.Verified, "sre")
	w := waiting(t, brokertest.Config{
		People: []brokertest.Person{bob, carol, soft, touched, lying}, Directory: quorum.Config{Hardware: "destructive"},
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
	}, Directory: quorum.Config{Hardware: "write"}}) // from here up
	w.decide(t, bob, evidence.Reject)
	if w.state() != valetkeyv1.GrantState_GRANT_STATE_REJECTED {
		t.Error(w.state())
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
	for _, name := range []string{"bob", "carol", "dave", "person"} {
		if regexp.MustCompile(`\b` + name + `\b`).MatchString(said) { // a random id may hold any of them
			t.Errorf("the agent is told of %q: %s", name, said)
		}
	}
}

// Whoever decides does not ask.
func TestApproversAreNoAgents(t *testing.T) {
	w := waiting(t, brokertest.Config{})
	_, err := w.AgentClient(w.bob.ID).OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production"})
	wantReason(t, err, codes.PermissionDenied, "CALLER_NOT_ALLOWED")
}
