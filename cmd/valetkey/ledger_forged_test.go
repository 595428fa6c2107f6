package main

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
	"github.com/valetkey/valetkey/scopes/jcs"
)

// lyingBroker is a broker that writes what it likes, into a ledger whose every hash and
// signature is right, with approvals that people have signed.
type lyingBroker struct {
	t        *testing.T
	at       time.Time // of the next record
	envelope string
	lapses   time.Time
	records  []ledger.Record
	times    []time.Time
}

const forgedGrant = "grant_00000000000000000000000000"

// newLyingBroker has asked people for what request says, as a broker does.
func newLyingBroker(t *testing.T, request forgedRequest) *lyingBroker {
	t.Helper()
	now := time.Date(2026, time.November, 24, 10, 0, 0, 0, time.UTC)
	agent, tier, needs := cmp.Or(request.agent, "ann"), cmp.Or(request.tier, "destructive"), request.needs
	if needs == nil {
		needs = map[string]int{"sre": 2}
	}
	envelope := map[string]any{
		"v": 1, "agent": "spiffe://example.org/agent/" + agent + "/s1", "task": "t", "environment": "e", "on_behalf_of": request.on, "scope": "rebuild@1", "role": "s3",
		"tier": tier, "parameters": map[string][]string{"bucket": {"b"}}, "permissions": map[string]any{"aws": map[string]any{}}, "source_cidrs": nil, "ttl_seconds": 300,
	}
	if request.delegate != "" {
		envelope["delegate"] = request.delegate
	}
	text, err := jcs.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	l := &lyingBroker{t: t, at: now, envelope: string(text), lapses: now.Add(5 * time.Minute)}
	l.write(ledger.Record{Type: "grant.pending", Envelope: text, Needs: needs, NotAfter: &l.lapses})
	return l
}

// forgedRequest is what people are asked for; its zero value is a destructive one of
// ann's that needs two of sre.
type forgedRequest struct {
	agent, delegate, on, tier string
	needs                     map[string]int
}

func (l *lyingBroker) write(r ledger.Record) {
	r.Grant, r.EnvelopeDigest = forgedGrant, evidence.Digest([]byte(l.envelope))
	l.records, l.times = append(l.records, r), append(l.times, l.at)
	l.at = l.at.Add(time.Second)
}

// yes has somebody approve for groups, but for what change does.
func (l *lyingBroker) yes(p brokertest.Person, groups []string, change ...func(*evidence.Statement)) {
	l.t.Helper()
	s := evidence.Statement{
		V: evidence.Version, Broker: "log.example.org", Grant: forgedGrant, EnvelopeDigest: evidence.Digest([]byte(l.envelope)), Nonce: "n", Person: p.Name,
		Decision: evidence.Approve, Groups: groups, SignedAt: l.at.Truncate(time.Second), LapsesAt: l.lapses,
	}
	for _, c := range change {
		c(&s)
	}
	text, err := s.Canonical()
	if err != nil {
		l.t.Fatal(err)
	}
	l.keep(p, string(text))
}

// oldYes approves in version 1.
func (l *lyingBroker) oldYes(p brokertest.Person) {
	l.keep(p, `{"broker":"log.example.org","decision":"approve","envelope_digest":"`+evidence.Digest([]byte(l.envelope))+`","grant_id":"`+forgedGrant+`","nonce":"n","person":"`+p.Name+`","v":1}`)
}

func (l *lyingBroker) keep(p brokertest.Person, text string) {
	l.t.Helper()
	l.write(ledger.Record{Type: "approval.given", Approver: p.Name, ApprovalStatement: text, ApprovalSignature: p.Signature(l.t, []byte(text), evidence.Namespace)})
}

func (l *lyingBroker) clear() { l.write(ledger.Record{Type: "grant.cleared"}) }

// issue orders a credential of all that was approved, to end five minutes after the clearance.
func (l *lyingBroker) issue(tier string) {
	end := l.times[len(l.times)-1].Add(5 * time.Minute)
	l.write(ledger.Record{
		Type: "issuance.intended", Agent: "spiffe://example.org/agent/ann/s1", Task: "t", Scope: "rebuild@1", Service: "aws/s3", Tier: tier,
		Params: map[string][]string{"bucket": {"b"}}, PermissionsDigest: evidence.Digest([]byte(`{"aws":{}}`)), NotAfter: &end,
	})
}

// seal writes the ledger, and returns its file and key.
func (l *lyingBroker) seal() (file, key string) {
	l.t.Helper()
	dir := l.t.TempDir()
	must := func(err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	keyFile := filepath.Join(dir, "ledger.key")
	must(ledger.GenerateKey(keyFile, "log.example.org"))
	k, err := ledger.LoadKey(keyFile)
	must(err)
	file = filepath.Join(dir, "valetkey.db")
	st, err := sqlite.Open(l.t.Context(), sqlite.Config{Path: file, Seal: k.Seal})
	must(err)
	for i, r := range l.records {
		r.V, r.Time = 1, l.times[i]
		leaf, err := r.Leaf()
		must(err)
		_, err = st.Update(l.t.Context(), func(t store.Tx) error {
			_, err := t.Append(leaf)
			return err
		})
		must(err)
	}
	must(st.Close())
	return file, k.VerifierKey()
}

// valetkeyProgram runs this binary as valetkey, in a process of its own.
func valetkeyProgram(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Args[0], cmd.Stdout, cmd.Stderr, cmd.Env = "valetkey", &out, &out, append(os.Environ(), "GORACE="+raceOptions)
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestForgedLedgers has a broker that lies about approvals meet the program: for each
// way in which an approval does not count, a ledger that else verifies.
func TestForgedLedgers(t *testing.T) {
	full := byte(brokertest.Touched | brokertest.Verified)
	alice, bob, carol, dave := brokertest.NewPerson(t, "alice"), brokertest.NewPerson(t, "bob"), brokertest.NewPerson(t, "carol"), brokertest.NewPerson(t, "dave")
	pin, other, touch := brokertest.NewHardwarePerson(t, "pia", full), brokertest.NewHardwarePerson(t, "otto", full), brokertest.NewHardwarePerson(t, "tom", brokertest.Touched)
	var file strings.Builder
	for _, p := range []brokertest.Person{alice, bob, carol, pin, other, touch} {
		file.WriteString(p.Name + "," + p.ID + ",@sre " + p.Keys[0])
	}
	file.WriteString("dave,@security " + dave.Keys[0])
	signers := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(signers, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sre := []string{"sre"}
	signedAt := func(by time.Duration) func(*evidence.Statement) {
		return func(s *evidence.Statement) { s.SignedAt = s.SignedAt.Add(by) }
	}
	two := func(l *lyingBroker) { l.yes(alice, sre); l.yes(bob, sre) }
	for name, c := range map[string]struct {
		forgedRequest
		lie  func(*lyingBroker)
		want string // empty where it verifies
		says string
	}{
		"nothing is wrong": {
			lie: func(l *lyingBroker) { two(l); l.clear(); l.issue("destructive") }, says: "2 of 2 people are signed, and 1 issuances",
		},
		"old approvals": {
			lie: func(l *lyingBroker) { l.oldYes(alice); l.oldYes(bob); l.clear(); l.issue("destructive") }, says: "2 of them in the old form",
		},
		"two with security keys": {
			forgedRequest{tier: "admin"}, func(l *lyingBroker) { l.yes(pin, sre); l.yes(other, sre); l.clear(); l.issue("admin") }, "", "1 issuances rest on them",
		},
		"the named one has agreed": {
			forgedRequest{on: "for carol"}, func(l *lyingBroker) { two(l); l.yes(carol, nil); l.clear(); l.issue("destructive") }, "", "3 of 3 people",
		},

		"the requester":              {forgedRequest{agent: "alice"}, func(l *lyingBroker) { l.yes(alice, sre) }, "in their own name", ""},
		"the requester, old":         {forgedRequest{agent: "alice"}, func(l *lyingBroker) { l.oldYes(alice) }, "in their own name", ""},
		"the requester's other name": {forgedRequest{agent: "Bob-laptop"}, func(l *lyingBroker) { l.yes(bob, sre) }, "in their own name", ""},
		"the delegate":               {forgedRequest{delegate: bob.ID}, func(l *lyingBroker) { l.yes(bob, sre) }, "through spiffe://example.org/person/bob", ""},
		"who was named":              {forgedRequest{on: "Carol <carol@corp.example>"}, func(l *lyingBroker) { l.yes(carol, sre) }, "and is counted", ""},
		"who was named, old":         {forgedRequest{on: "carol"}, func(l *lyingBroker) { l.oldYes(carol) }, "and is counted", ""},
		"past who was named":         {forgedRequest{on: "carol"}, func(l *lyingBroker) { two(l); l.clear() }, "carol has not approved it", ""},

		"a stranger to the group": {lie: func(l *lyingBroker) { l.yes(dave, sre) }, want: "dave decides what is not theirs"},
		"a stranger, old":         {lie: func(l *lyingBroker) { l.oldYes(dave) }, want: "dave decides what is not theirs"},
		"a group of others": {
			forgedRequest{needs: map[string]int{"sre": 1, "security": 1}}, func(l *lyingBroker) { l.yes(dave, sre) }, "dave approves for group sre", "",
		},
		"too few of a group": {
			forgedRequest{needs: map[string]int{"sre": 2, "security": 1}}, func(l *lyingBroker) { two(l); l.clear() }, "0 people of group security", "",
		},
		"one person twice":     {lie: func(l *lyingBroker) { l.yes(alice, sre); l.yes(alice, sre); l.clear() }, want: "of 1 people, and has to on 2"},
		"fewer than the floor": {forgedRequest{needs: map[string]int{"sre": 1}}, func(l *lyingBroker) { l.yes(alice, sre); l.clear() }, "of 1 people, and has to on 2", ""},

		"a soft key":      {forgedRequest{tier: "admin"}, func(l *lyingBroker) { l.yes(alice, sre) }, "without a security key", ""},
		"a soft key, old": {forgedRequest{tier: "admin"}, func(l *lyingBroker) { l.oldYes(alice) }, "without a security key", ""},
		"a touch alone":   {forgedRequest{tier: "admin"}, func(l *lyingBroker) { l.yes(touch, sre) }, "without a security key", ""},

		"after the lapse":            {lie: func(l *lyingBroker) { l.at = l.lapses; l.yes(alice, sre, signedAt(-time.Minute)) }, want: "a request that had lapsed"},
		"after the lapse, old":       {lie: func(l *lyingBroker) { l.at = l.lapses.Add(time.Hour); l.oldYes(alice) }, want: "a request that had lapsed"},
		"cleared a year later":       {lie: func(l *lyingBroker) { two(l); l.at = l.at.AddDate(1, 0, 0); l.clear() }, want: "had lapsed"},
		"signed in the future":       {lie: func(l *lyingBroker) { l.yes(alice, sre, signedAt(time.Minute)) }, want: "after it was recorded"},
		"signed before it was asked": {lie: func(l *lyingBroker) { l.yes(alice, sre, signedAt(-time.Hour)) }, want: "before it was asked for"},
		"with a longer wait": {
			lie: func(l *lyingBroker) {
				l.yes(alice, sre, func(s *evidence.Statement) { s.LapsesAt = s.LapsesAt.Add(-time.Minute) })
			}, want: "was told that the request lapses",
		},
		"once it was cleared": {lie: func(l *lyingBroker) { two(l); l.clear(); l.yes(carol, sre) }, want: "was cleared before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLyingBroker(t, c.forgedRequest)
			c.lie(l)
			file, key := l.seal()
			code, out := valetkeyProgram(t, "ledger", "verify", file, "--key", key, "--approvers", signers, "--quiet")
			if c.want == "" && (code != exitOK || !strings.Contains(out, c.says)) || c.want != "" && (code != exitVerification || !strings.Contains(out, c.want)) {
				t.Errorf("leaves with %d: %s", code, out)
			}
		})
	}
}
