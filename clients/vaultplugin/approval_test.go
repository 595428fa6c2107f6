package vaultplugin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// approvers are two people whom a rebuild of a bucket needs.
func approvers(t *testing.T) []brokertest.Person {
	t.Helper()
	return []brokertest.Person{brokertest.NewPerson(t, "olga", "sre"), brokertest.NewPerson(t, "piet", "sre")}
}

// patient is a world where people may approve, with alice and bob logged in.
type patient struct {
	*world
	people     []brokertest.Person
	alice, bob *api.Client
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{people: approvers(t)}
	p.world = newWorld(t, nil, p.people...)
	p.enable(t, "valetkey", nil)
	p.alice, p.bob = p.login(t, "alice"), p.login(t, "bob")
	return p
}

// TestApproval is all that a user does whose request people have to approve, on one
// real Vault.
func TestApproval(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *patient)
	}{
		{"asked", testAsked},
		{"asked by many at once", testAskersAtOnce},
		{"approved", testApproved},
		{"approved, and asked for again", testAskedAgain},
		{"rejected", testRejected},
		{"many readers at once", testReadersAtOnce},
		{"in a task of the caller's", testWaitingInTask},
		{"reloaded and killed while it waits", testWaitingThroughReloads},
		{"hostile ids", testHostileIDs},
		{"renewal", testRenewalAsksNobody},
		{"lapsed", testLapsed}, // last: after it MinIO's clock is another than the broker's
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, p) })
	}
	if !p.balanced() {
		t.Error("a task is open")
	}
}

// ask reads creds of what people have to approve, and returns the request's id.
func (p *patient) ask(t *testing.T, purpose string, more ...string) string {
	t.Helper()
	_, err := read(t, p.alice, "valetkey/creds/s3-bucket-rebuild", append(more, "bucket=prod", "purpose="+purpose)...)
	return p.asked(t, err)
}

// asked is the id in an answer that says that a request waits.
func (p *patient) asked(t *testing.T, err error) string {
	t.Helper()
	refused(t, err, 403, "NEEDS_APPROVAL", "2 of group sre, by 20", "vault read valetkey/requests/grant_")
	if t.Failed() {
		t.FailNow()
	}
	return "grant_" + strings.SplitN(strings.SplitN(err.Error(), "requests/grant_", 2)[1], `"`, 2)[0]
}

// request reads what became of a request.
func (p *patient) request(t *testing.T, id string) *api.Secret {
	t.Helper()
	s, err := read(t, p.alice, "valetkey/requests/"+id)
	must(t, err)
	for _, person := range p.people {
		if raw, err := json.Marshal(s); err != nil || strings.Contains(string(raw), person.Name) {
			t.Errorf("an agent is told of %s (%v)", person.Name, err)
		}
	}
	return s
}

// shows is a request in a state, without a credential, and with a word on why.
func (p *patient) shows(t *testing.T, id, state, warning string) {
	t.Helper()
	s := p.request(t, id)
	if s.Data["id"] != id || s.Data["state"] != state || s.LeaseID != "" || s.Data["secret_key"] != nil || s.Data["access_key"] != nil {
		t.Errorf("the request is %v of lease %q, want %s", s.Data["state"], s.LeaseID, state)
	}
	if text := strings.Join(s.Warnings, "\n"); !strings.Contains(text, warning) {
		t.Errorf("it warns %q, want %q", text, warning)
	}
}

func (p *patient) decide(t *testing.T, id string, decisions ...evidence.Decision) {
	t.Helper()
	for i, d := range decisions {
		_, err := p.Decide(p.people[i], id, d)
		must(t, err)
	}
}

// withdraw is an operator's end of a request. A person's no would hold for the next.
func (p *patient) withdraw(t *testing.T, id string) {
	t.Helper()
	_, err := p.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: id, Cause: "test"})
	must(t, err)
	p.shows(t, id, "revoked", "revoked")
}

func (p *patient) approve(t *testing.T, id string) {
	t.Helper()
	p.decide(t, id, evidence.Approve, evidence.Approve)
}

// works says whether a credential can do what was approved.
func works(t *testing.T, s *api.Secret) error {
	t.Helper()
	_, err := session(s).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("prod")})
	return err
}

// balanced says that no task is open.
func (w *world) balanced() bool { return w.count("task.opened") == w.count("task.closed") }

// raw is an answer as it comes over the wire.
func (w *world) raw(t *testing.T, token, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.vault.Addr+"/v1/"+path, nil)
	must(t, err)
	r.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { must(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body)
}

// testAsked is that no client takes the answer for a credential, and that programs
// find in it what they need.
func testAsked(t *testing.T, p *patient) {
	id := p.ask(t, "asked")
	p.shows(t, id, "pending", "not approved the request yet")
	s := p.request(t, id)
	by, err := time.Parse(time.RFC3339, s.Data["decide_by"].(string))
	if err != nil || by.Before(time.Now().Add(time.Minute)) || s.Data["expires_at"] != nil || s.Data["needs"].(map[string]any)["sre"] != json.Number("2") || s.Data["agent"] != aliceID {
		t.Errorf("the request is %v (%v)", s.Data, err)
	}
	if again := p.ask(t, "asked"); again != id {
		t.Error("the same is another request")
	}
	other := p.ask(t, "asked for something else")
	if other == id {
		t.Error("something else is the same request")
	}
	code, body := p.raw(t, p.alice.Token(), "valetkey/creds/s3-bucket-rebuild?bucket=prod&purpose=asked")
	var answer struct {
		Errors []string
		Data   map[string]any
	}
	must(t, json.Unmarshal([]byte(body), &answer))
	if code != 403 || len(answer.Errors) != 1 || answer.Data["id"] != id || answer.Data["state"] != "pending" || answer.Data["access_key"] != nil {
		t.Errorf("%d: %s", code, body)
	}
	cli, err := servers.Binary("vault")
	must(t, err)
	for _, field := range []string{"-field=access_key", "-format=json"} {
		cmd := exec.CommandContext(t.Context(), cli, "read", field, "valetkey/creds/s3-bucket-rebuild", "bucket=prod", "purpose=asked")
		cmd.Env = []string{"HOME=" + t.TempDir(), "VAULT_ADDR=" + p.vault.Addr, "VAULT_TOKEN=" + p.alice.Token()}
		if out, err := cmd.Output(); err == nil || len(out) > 0 {
			t.Errorf("vault read %s succeeds (%v), and prints %q", field, err, out)
		}
	}
	_, err = read(t, p.bob, "valetkey/requests/"+id)
	refused(t, err, 400, "GRANT_NOT_FOUND")
	_, err = read(t, p.root, "valetkey/requests/"+id)
	refused(t, err, 403, "no identity entity")
	if n := p.count("grant.pending"); n != 2 {
		t.Errorf("%d requests were made of two", n)
	}
	// Each task is closed with its request.
	p.withdraw(t, id)
	p.withdraw(t, other)
	if !p.balanced() {
		t.Error("a task is open")
	}
}

func testApproved(t *testing.T, p *patient) {
	id := p.ask(t, "approved")
	p.decide(t, id, evidence.Approve)
	p.shows(t, id, "pending", "not approved")
	p.approve(t, id)
	_, err := read(t, p.bob, "valetkey/requests/"+id)
	refused(t, err, 400, "GRANT_NOT_FOUND")
	s := p.request(t, id)
	if s.LeaseID == "" || s.Renewable || s.LeaseDuration < 4*60 || s.LeaseDuration > 5*60 || s.Data["state"] != "active" || s.Data["grant"] != id {
		t.Errorf("lease %q of %d s, renewable %v, state %v", s.LeaseID, s.LeaseDuration, s.Renewable, s.Data["state"])
	}
	must(t, works(t, s))
	if err := get(t.Context(), session(s), "reports/one"); !forbidden(err) {
		t.Errorf("what was not approved: %v", err)
	}
	p.shows(t, id, "active", "handed over, once")
	must(t, works(t, s))
	_, err = p.alice.Sys().RenewWithContext(t.Context(), s.LeaseID, 60)
	if err == nil || !strings.Contains(err.Error(), "not renewable") {
		t.Errorf("it is renewed: %v", err)
	}
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses an approved session whose lease was revoked", func() bool { return forbidden(works(t, s)) })
	p.shows(t, id, "released", "released")
	if !p.balanced() {
		t.Error("a task is open")
	}
}

// testAskedAgain is a program that asks until it gets, as Vault Agent does.
func testAskedAgain(t *testing.T, p *patient) {
	id := p.ask(t, "again", "lease=60s")
	p.approve(t, id)
	s, err := read(t, p.alice, "valetkey/creds/s3-bucket-rebuild", "lease=60s", "bucket=prod", "purpose=again")
	must(t, err)
	if s.Data["grant"] != id || s.LeaseDuration != 60 || s.Renewable {
		t.Errorf("%v of %d s", s.Data["grant"], s.LeaseDuration)
	}
	must(t, works(t, s))
	p.shows(t, id, "active", "handed over, once")
	// The next is a request of its own.
	next := p.ask(t, "again", "lease=60s")
	if next == id {
		t.Error("one approval is good for two")
	}
	must(t, works(t, s))
	p.withdraw(t, next)
	p.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses it", func() bool { return forbidden(works(t, s)) })
}

func testRejected(t *testing.T, p *patient) {
	again := func() error {
		_, err := read(t, p.alice, "valetkey/creds/s3-bucket-rebuild", "bucket=rejected", "purpose=a test")
		return err
	}
	id := p.asked(t, again())
	p.decide(t, id, evidence.Approve)
	p.decide(t, id, evidence.Reject)
	pending := p.count("grant.pending")
	for range 2 {
		refused(t, again(), 403, "REJECTED", "do not ask again")
		p.shows(t, id, "rejected", "people said no")
	}
	if p.count("grant.pending") != pending {
		t.Error("people were asked again")
	}
	if !p.balanced() {
		t.Error("a task is open")
	}
}

func testLapsed(t *testing.T, p *patient) {
	id := p.ask(t, "lapsed")
	p.Clock.Add(quorum.DefaultWait + time.Second)
	eventually(t, endLimit, "it lapses", func() bool { return p.request(t, id).Data["state"] == "lapsed" })
	p.shows(t, id, "lapsed", "not approve the request in time")
	if !p.balanced() {
		t.Error("a task is open")
	}
	next := p.ask(t, "lapsed")
	if next == id {
		t.Error("a request that lapsed waits")
	}
	p.withdraw(t, next)
}

// wantsOne has policy want people for what it gave without them.
const wantsOne = `
@id("storage.read-one-sre")
@reason("one of group sre has to approve reading")
forbid (principal, action == Valetkey::Action::"s3-prefix-read", resource)
unless { context.approvals.sre >= 1 };
`

// TestDocumentedApproval types what docs/clients-vault.md prints about people.
func TestDocumentedApproval(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	cli, err := servers.Binary("vault")
	must(t, err)
	shell := func(script string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-eu", "-c", script)
		cmd.Env = []string{"PATH=" + filepath.Dir(cli) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VAULT_ADDR=" + p.vault.Addr, "VAULT_TOKEN=" + p.alice.Token()}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, stderr.String(), script)
		}
		return string(out)
	}
	blocks := fenced(t, "sh")
	if out := shell(blocks[6]); out != "pending" {
		t.Errorf("it prints %q", out)
	}
	waits, err := p.ApproverClient(p.people[0]).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
	must(t, err)
	if len(waits.GetPending()) != 1 {
		t.Fatalf("%d requests wait", len(waits.GetPending()))
	}
	id := waits.GetPending()[0].GetGrant().GetId()
	p.approve(t, id)
	out := shell(blocks[7])
	for _, want := range []string{"lease_renewable    false", "security_token", id} {
		if !strings.Contains(out, want) {
			t.Errorf("it prints no %q", want)
		}
	}
}
