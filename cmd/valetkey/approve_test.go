package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// keyFile writes a person's key as ssh-keygen reads it.
func keyFile(t *testing.T, p brokertest.Person, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(p.Key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(p.Key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), p.Name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// asWho runs the command over a connection of somebody's to the harness's broker.
func asWho(t *testing.T, conn grpc.ClientConnInterface) func(args ...string) (int, string, string) {
	return func(args ...string) (int, string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, &stdout, &stderr, func(opts ...valetkey.Option) (*valetkey.Client, error) {
			return valetkey.New(t.Context(), append(opts, valetkey.WithConn(conn))...)
		})
		return code, stdout.String(), stderr.String()
	}
}

// pendingWorld is a broker on which a request of alice's waits for two of group sre.
func pendingWorld(t *testing.T) (h *brokertest.Harness, bob, carol brokertest.Person, grant string) {
	t.Helper()
	bob, carol = brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")
	h = brokertest.NewRunning(t, brokertest.Config{People: []brokertest.Person{bob, carol}})
	c := h.AgentClient(brokertest.Agent)
	task, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "move\nstate  cleared\n\tit", Environment: "production"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RequestGrant(t.Context(), &valetkeyv1.RequestGrantRequest{
		IdempotencyKey: "grant-key-1", TaskId: task.GetTask().GetId(), Scope: "s3-bucket-rebuild", Justification: "it is\nold",
		Parameters: map[string]*valetkeyv1.Value{"bucket": {Values: []string{"prod"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, bob, carol, resp.GetGrant().GetId()
}

func TestApprove(t *testing.T) {
	h, bob, carol, grant := pendingWorld(t)
	asBob, asCarol := asWho(t, h.Dial(bob.ID)), asWho(t, h.Dial(carol.ID))
	code, list, _ := asBob("approvals")
	if code != exitOK || !strings.Contains(list, grant) || !strings.Contains(list, "2 of group sre") {
		t.Fatalf("%d: %s", code, list)
	}
	code, shown, _ := asBob("approvals", grant)
	if code != exitOK || strings.Contains(shown, "\nstate  cleared") {
		t.Errorf("%d: %q", code, shown)
	}
	for _, want := range []string{"bucket=prod", "s3:DeleteBucket", "destructive", "production", brokertest.Agent, h.Key.Origin(), "| request: it is"} {
		if !strings.Contains(shown, want) {
			t.Errorf("it does not show %q:\n%s", want, shown)
		}
	}
	code, out, stderr := asBob("approve", grant, "--key", keyFile(t, bob, ""), "--yes", "--comment", "seen")
	if code != exitOK || !strings.Contains(out, "1 of group sre") {
		t.Fatalf("%d: %s%s", code, out, stderr)
	}
	if _, shown, _ := asCarol("approvals", grant); !strings.Contains(shown, "bob seen") {
		t.Errorf("carol does not see what bob said:\n%s", shown)
	}
	code, out, stderr = asCarol("approve", grant, "--key", keyFile(t, carol, ""), "--yes", "-o", "json")
	if code != exitOK || !strings.Contains(out, "GRANT_STATE_CLEARED") {
		t.Fatalf("%d: %s%s", code, out, stderr)
	}
	if code, out, stderr := asCarol("reject", grant, "--key", keyFile(t, carol, ""), "--yes", "--comment", "on second thought"); code != exitOK || !strings.Contains(out, "rejected") {
		t.Errorf("%d: %s", code, stderr)
	}
	if code, _, stderr := asBob("approve", grant, "--key", keyFile(t, bob, ""), "--yes"); code != exitOK { // he has said so
		t.Errorf("%d: %s", code, stderr)
	}
	if code, _, stderr := asCarol("approve", grant, "--key", keyFile(t, carol, ""), "--yes"); code != exitError || !strings.Contains(stderr, "NOT_PENDING") {
		t.Errorf("%d: %s", code, stderr)
	}
}

func TestReject(t *testing.T) {
	h, bob, _, grant := pendingWorld(t)
	code, out, stderr := asWho(t, h.Dial(bob.ID))("reject", grant, "--key", keyFile(t, bob, ""), "--yes", "--comment", "no")
	if code != exitOK || !strings.Contains(out, "rejected") {
		t.Fatalf("%d: %s%s", code, out, stderr)
	}
}

// Nothing is signed unless a person has been asked, and nothing is sent unless it
// was signed.
func TestApproveRefuses(t *testing.T) {
	h, bob, carol, grant := pendingWorld(t)
	asBob := asWho(t, h.Dial(bob.ID))
	key := keyFile(t, bob, "")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no terminal to ask on":       {[]string{"approve", grant, "--key", key}, exitUsage, "--yes"},
		"no key":                      {[]string{"approve", grant, "--yes"}, exitUsage, "--key"},
		"a key that is not there":     {[]string{"approve", grant, "--yes", "--key", key + ".not"}, exitUsage, "no such file"},
		"a file that is no key":       {[]string{"approve", grant, "--yes", "--key", "approve_test.go"}, exitError, "signing with ssh-keygen"},
		"a key under a passphrase":    {[]string{"approve", grant, "--yes", "--key", keyFile(t, bob, "hunter2")}, exitError, "signing with ssh-keygen"},
		"a program that is not there": {[]string{"approve", grant, "--yes", "--key", key, "--ssh-keygen", "/nonexistent/ssh-keygen"}, exitError, "signing with /nonexistent"},
		"another's key":               {[]string{"approve", grant, "--yes", "--key", keyFile(t, carol, "")}, exitError, "INVALID_APPROVAL"},
		"a reject without a reason":   {[]string{"reject", grant, "--yes", "--key", key}, exitUsage, "--comment"},
		"another broker":              {[]string{"approve", grant, "--yes", "--key", key, "--ledger-key", "other.example/log+00000000+AA=="}, exitError, "is this the right broker? Nothing was signed"},
		"no such request":             {[]string{"approve", grantID, "--yes", "--key", key}, exitError, "GRANT_NOT_FOUND"},
	} {
		t.Setenv("SSH_ASKPASS", "/bin/false")
		t.Setenv("SSH_ASKPASS_REQUIRE", "force")
		if code, out, stderr := asBob(c.args...); code != c.code || out != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d %q: %s", name, code, out, stderr)
		}
	}
	for _, raw := range h.Records() {
		if strings.Contains(raw, `"approval.`) {
			t.Errorf("it was decided: %s", raw)
		}
	}
}

// liar shows another request than the one that it would have signed.
type liar struct {
	grpc.ClientConnInterface
	change func(*valetkeyv1.PendingGrant)
}

func (l *liar) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	err := l.ClientConnInterface.Invoke(ctx, method, in, out, opts...)
	if resp, ok := out.(*valetkeyv1.GetPendingGrantResponse); ok && err == nil {
		l.change(resp.GetPending())
	}
	return err
}

// reseal changes an envelope together with its digest.
func reseal(p *valetkeyv1.PendingGrant, envelope string) {
	p.Envelope, p.Grant.EnvelopeDigest = envelope, evidence.Digest([]byte(envelope))
}

// with has an envelope begin with something more.
func with(more string) func(*valetkeyv1.PendingGrant) {
	return func(p *valetkeyv1.PendingGrant) { reseal(p, strings.Replace(p.GetEnvelope(), "{", "{"+more, 1)) }
}

// What is shown is what is signed, whatever the broker says beside it.
func TestApproveShowsWhatIsSigned(t *testing.T) {
	h, bob, _, grant := pendingWorld(t)
	for name, change := range map[string]func(*valetkeyv1.PendingGrant){
		"another envelope":          func(p *valetkeyv1.PendingGrant) { p.Envelope = strings.ReplaceAll(p.GetEnvelope(), "prod", "test") },
		"another digest":            func(p *valetkeyv1.PendingGrant) { p.Grant.EnvelopeDigest = strings.Repeat("0", 64) },
		"another grant":             func(p *valetkeyv1.PendingGrant) { p.Grant = proto.CloneOf(p.GetGrant()); p.Grant.Id = grantID },
		"a key twice":               with(`"tier":"read",`),
		"a key in another case":     with(`"Tier":"read",`),
		"a key that nobody knows":   with(`"a":1,`),
		"white space":               with(" "),
		"a version to come":         func(p *valetkeyv1.PendingGrant) { reseal(p, strings.Replace(p.GetEnvelope(), `"v":1`, `"v":2`, 1)) },
		"what is no JSON at all":    func(p *valetkeyv1.PendingGrant) { reseal(p, "bucket=test") },
		"a parameter of other type": func(p *valetkeyv1.PendingGrant) { reseal(p, strings.Replace(p.GetEnvelope(), `["prod"]`, `"prod"`, 1)) },
	} {
		as := asWho(t, &liar{ClientConnInterface: h.Dial(bob.ID), change: change})
		if code, _, stderr := as("approve", grant, "--yes", "--key", keyFile(t, bob, "")); code != exitError || !strings.Contains(stderr, "nothing was signed") {
			t.Errorf("%s: %d %s", name, code, stderr)
		}
	}
}

// Whoever has the ledger and the people's public keys sees that they approved.
func TestLedgerVerifyApprovals(t *testing.T) {
	h, bob, carol, grant := pendingWorld(t)
	for _, p := range []brokertest.Person{bob, carol} {
		if code, _, stderr := asWho(t, h.Dial(p.ID))("approve", grant, "--key", keyFile(t, p, ""), "--yes"); code != exitOK {
			t.Fatal(stderr)
		}
	}
	if _, err := h.AgentClient(brokertest.Agent).MintCredential(t.Context(), &valetkeyv1.MintCredentialRequest{IdempotencyKey: "mint-key-1", GrantId: grant}); err != nil {
		t.Fatal(err)
	}
	h.Stop()
	signers := func(lines ...string) string {
		file := filepath.Join(t.TempDir(), "allowed_signers")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	verify := func(args ...string) (int, string, string) {
		return asWho(t, nil)(append([]string{"ledger", "verify", filepath.Join(h.Dir, "valetkey.db"), "--key", h.Key.VerifierKey(), "--approvers"}, args...)...)
	}
	both := signers("bob,@sre ", bob.Keys[0], "carol,@sre ", carol.Keys[0])
	if code, out, stderr := verify(both); code != exitOK || !strings.Contains(out, "2 of 2 people are signed, and 1 issuances rest on them") {
		t.Errorf("%d: %s%s", code, out, stderr)
	}
	for want, args := range map[string][]string{
		"is not a key of carol's": {signers("bob,@sre ", bob.Keys[0], "carol,@sre ", brokertest.NewPerson(t, "x").Keys[0])},
		"has to on 3":             {both, "--floor", "3"},
		"carol decides what is":   {signers("bob,@sre ", bob.Keys[0], "carol ", carol.Keys[0])},
		"without a security key":  {both, "--hardware", "destructive"},
	} {
		if code, _, stderr := verify(args...); code != exitVerification || !strings.Contains(stderr, want) {
			t.Errorf("%d: %s", code, stderr)
		}
	}
	if code, _, stderr := verify(signers("# nobody")); code != exitError || !strings.Contains(stderr, "names nobody") {
		t.Errorf("%d: %s", code, stderr)
	}
}

// What somebody says cannot be taken for a row of ours, at whatever width.
func TestQuoted(t *testing.T) {
	rows := quoted("the agent says", "fix it"+strings.Repeat(" ", 70)+"tier           read\nlacks  nothing \x1b[1A"+strings.Repeat("x", 200)+"\u00e9")
	for i, row := range rows {
		if !strings.HasPrefix(row[1], "| ") || len(row[1]) > quoteWidth+2 || i > 0 && row[0] != "" || strings.Contains(row[1], "  ") || strings.ContainsAny(row[1], "\x1b\n") {
			t.Errorf("row %d: %q", i, row)
		}
	}
	if len(rows) != 5 || quoted("x", " ") != nil {
		t.Errorf("%q", rows)
	}
}

// A request that waits prints its credential once people have said yes, and their
// no is the end of it.
func TestRequestWaits(t *testing.T) {
	for decision, want := range map[evidence.Decision]int{evidence.Approve: exitOK, evidence.Reject: exitDenied} {
		h, bob, carol, _ := pendingWorld(t)
		c := h.AgentClient(brokertest.Agent)
		task, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-2", Purpose: "wait", Environment: "production"})
		if err != nil {
			t.Fatal(err)
		}
		// Bob and carol decide as soon as something of this task's waits for them.
		decided := make(chan error, 1)
		go func() {
			for {
				list, err := h.ApproverClient(bob).ListPendingGrants(t.Context(), &valetkeyv1.ListPendingGrantsRequest{})
				if err != nil {
					decided <- err
					return
				}
				for _, p := range list.GetPending() {
					if id := p.GetGrant().GetId(); p.GetTask().GetId() == task.GetTask().GetId() {
						_, err := h.Decide(bob, id, decision)
						if err == nil && decision == evidence.Approve {
							_, err = h.Decide(carol, id, decision)
						}
						decided <- err
						return
					}
				}
			}
		}()
		code, out, stderr := asWho(t, h.Dial(brokertest.Agent))("request", "s3-bucket-rebuild", "bucket=prod", "--task", task.GetTask().GetId(),
			"--mint", "--wait", "--timeout", "2s", "--ledger-key", h.Key.VerifierKey())
		if err := <-decided; err != nil {
			t.Fatal(err)
		}
		if code != want || strings.Contains(out, "AWS_SESSION_TOKEN") != (want == exitOK) || !strings.Contains(stderr, "2 of group sre; they say: valetkey approve grant_") {
			t.Errorf("%s: %d %q: %s", decision, code, out, stderr)
		}
	}
}

// A key that ssh-agent holds is named by its public half.
func TestApproveWithSSHAgent(t *testing.T) {
	h, bob, _, grant := pendingWorld(t)
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: bob.Key}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(keys, c)
			_ = c.Close()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", l.Addr().String())
	public := filepath.Join(dir, "bob.pub")
	if err := os.WriteFile(public, []byte(bob.Keys[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := asWho(t, h.Dial(bob.ID))("approve", grant, "--key", public, "--yes"); code != exitOK || !strings.Contains(out, "1 of group sre") {
		t.Errorf("%d: %s%s", code, out, stderr)
	}
}
