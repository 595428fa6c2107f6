package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/clients/logverify/approvals"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/jcs"
)

// TestLedgerVerifyNamed has the program verify what a real broker wrote of a request
// whose agent named an approver.
func TestLedgerVerifyNamed(t *testing.T) {
	var people []brokertest.Person
	var signers strings.Builder
	for _, name := range []string{"bob", "carol", "dan"} {
		p := brokertest.NewPerson(t, name, "sre")
		people = append(people, p)
		signers.WriteString(name + ",@sre," + p.ID + " " + p.Keys[0])
	}
	h := brokertest.NewRunning(t, brokertest.Config{People: people})
	c := h.AgentClient(brokertest.Agent)
	task, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "x", Environment: "production", OnBehalfOf: "ticket 7, for Dan"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RequestGrant(t.Context(), &valetkeyv1.RequestGrantRequest{
		IdempotencyKey: "grant-key-1", TaskId: task.GetTask().GetId(), Scope: "s3-bucket-rebuild", Parameters: map[string]*valetkeyv1.Value{"bucket": {Values: []string{"prod"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	grant := resp.GetGrant().GetId()
	for _, p := range people {
		code, _, stderr := asWho(t, h.Dial(p.ID))("approve", grant, "--key", keyFile(t, p, ""), "--yes")
		wants := "counts for      sre"
		if p.Name == "dan" {
			wants = "counts for      no group"
		}
		if code != exitOK || !strings.Contains(stderr, wants) || !strings.Contains(stderr, "dan: has to approve too") {
			t.Fatalf("as %s, %d: %s", p.Name, code, stderr)
		}
	}
	if _, err := c.MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: grant}); err != nil {
		t.Fatal(err)
	}
	h.Stop()
	file := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(file, []byte(signers.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := valetkeyProgram(t, "ledger", "verify", filepath.Join(h.Dir, "valetkey.db"), "--key", h.Key.VerifierKey(), "--approvers", file, "--quiet")
	if code != exitOK || !strings.Contains(out, "3 of 3 people are signed, and 1 issuances rest on them") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestVerifierReadsNamesAsTheBrokerDoes holds the two readings of names, which share no
// code, against each other on texts that an agent could write.
func TestVerifierReadsNamesAsTheBrokerDoes(t *testing.T) {
	bob := brokertest.NewPerson(t, "bob", "sre")
	bob.Aliases = []string{"robert.smith", "rs@example.com"}
	directory, err := quorum.NewDirectory(quorum.Config{Broker: "log.example.org", People: []quorum.Person{bob.Person}})
	if err != nil {
		t.Fatal(err)
	}
	signers, err := approvals.ParseSigners([]byte("bob,@sre,robert.smith,rs@example.com," + bob.ID + " " + bob.Keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{"bob", "BOB", "Robert", "smith", "rs", "example.com", "corp.example", "@", ".", "_", "-", "+", " ", "/", ",", "<", ">", "\u201c", "x", "\u0130", "spiffe://example.org/person/bob", "é"}
	named := 0
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 6).Draw(rt, "text"), "")
		broker := len(directory.Named(quorum.Case{Needs: []policy.Need{{Group: "sre", Approvals: 2}}, Claim: text})) == 1
		if broker {
			named++
		}
		l := newLyingBroker(t, forgedRequest{on: text})
		l.yes(bob, []string{"sre"})
		check := approvals.Checker{Origin: "log.example.org", Signers: signers, Floor: 2, Hardware: "admin"}
		var fault error
		for i, r := range l.records {
			r.V, r.Time = 1, l.times[i]
			leaf, err := jcs.Marshal(r)
			if err != nil {
				rt.Fatal(err)
			}
			if fault = check.Record(int64(i), leaf); fault != nil {
				break
			}
		}
		if verifier := fault != nil; verifier != broker || verifier && !strings.Contains(fault.Error(), "and is counted") {
			rt.Fatalf("%q names bob to the broker: %v, and the verifier says: %v", text, broker, fault)
		}
	})
	if named == 0 {
		t.Error("no text named anybody")
	}
	if evidence.Version != 2 {
		t.Errorf("statements are of version %d: teach the verifier", evidence.Version)
	}
}
