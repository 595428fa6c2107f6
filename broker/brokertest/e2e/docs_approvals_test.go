package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/clients/logverify/approvals"
)

var grantID = regexp.MustCompile(`grant_[a-z0-9]{26}`)

// approvalConfig puts the document's section into a configuration.
func approvalConfig(t *testing.T, text string) {
	l := newLocal(t)
	file := l.path("valetkeyd.yaml")
	raw, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, append(raw, text...), 0o600))
	if out, code := run(t, nil, program(t, "valetkeyd"), "config", "check", file); code != 0 {
		t.Errorf("exits %d: %s", code, out.stderr)
	}
}

// waiting has the dev folder's agent ask for what two people have to approve.
func (p *docs) waiting(t *testing.T, bucket string) (grant string) {
	t.Helper()
	out := p.shell(t, p.agent(), `valetkey request s3-bucket-rebuild bucket=`+bucket+` --task "$(valetkey task open -e staging doc)" || [ $? -eq 4 ]`)
	if grant = grantID.FindString(out.stdout); grant == "" {
		t.Fatalf("nothing waits: %s%s", out.stdout, out.stderr)
	}
	return grant
}

// person is the environment of one of the dev folder's people.
func (p *docs) person(name string) []string {
	return []string{
		"VALETKEY_ADDR=" + p.grpc, "VALETKEY_BROKER_ID=" + brokerID,
		"SPIFFE_ENDPOINT_SOCKET=unix://" + filepath.Join(p.dir, name+".sock"),
	}
}

func (p *docs) key(name string) string { return filepath.Join(p.dir, name+".key") }

func (p *docs) approving(t *testing.T, text string) {
	grant := p.waiting(t, "logs")
	for _, name := range []string{"bob", "carol"} {
		script := replaced(t, text, map[string]string{"~/.ssh/id_ed25519": p.key(name) + " --yes"})
		out := p.shell(t, append(p.person(name), "GRANT="+grant), script)
		if strings.Count(out.stdout, grant) < 3 || !strings.Contains(out.stdout, "bucket=logs") {
			t.Errorf("as %s it prints:\n%s", name, out.stdout)
		}
	}
	out := p.shell(t, p.agent(), "valetkey mint "+grant)
	if !strings.Contains(out.stdout, "AWS_SESSION_TOKEN") {
		t.Error("nothing was minted from what was approved")
	}
}

func (p *docs) rejecting(t *testing.T, text string) {
	grant := p.waiting(t, "other")
	script := replaced(t, text, map[string]string{"GRANT": grant, "FILE": p.key("bob") + " --yes", "TEXT": "no"})
	if out := p.shell(t, p.person("bob"), script); !strings.Contains(out.stdout, "rejected") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
}

// statement holds the words of the document's against those of one that was signed.
func (p *docs) statement(t *testing.T, text string) {
	var shown map[string]any
	must(t, json.Unmarshal([]byte(text), &shown))
	out := p.shell(t, nil, `valetkey ledger verify '`+p.log+`' --key '`+p.vkey+`' --approvers allowed_signers -o json`)
	if !strings.Contains(out.stdout, `"people": 2`) {
		t.Fatalf("nobody has signed anything:\n%s", out.stdout)
	}
	raw, err := os.ReadFile(filepath.Join(p.dir, "valetkey.db-wal"))
	must(t, err)
	for word := range shown {
		if !strings.Contains(string(raw), `\"`+word+`\":`) {
			t.Errorf("no statement on the record has %q", word)
		}
	}
}

// people is an allowed_signers file, to the verifier and to OpenSSH.
func people(t *testing.T, text string) {
	signers, err := approvals.ParseSigners([]byte(text))
	if err != nil || len(signers) != 2 {
		t.Errorf("%v: %v", signers, err)
	}
	file := filepath.Join(t.TempDir(), "allowed_signers")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	if out, code := run(t, nil, "ssh-keygen", "-Y", "match-principals", "-f", file, "-I", "bob"); code != 0 || !strings.Contains(out.stdout, "bob") {
		t.Errorf("%s%s", out.stdout, out.stderr)
	}
}

func (p *docs) approvalsOnRecord(t *testing.T, text string) {
	front, ca := p.front(t)
	out := p.shell(t, []string{"VKEY=" + p.vkey, "SSL_CERT_FILE=" + ca}, replaced(t, text, map[string]string{"broker.example:8701": front}))
	if !strings.Contains(out.stdout, "are signed, and 1 issuances rest on them") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
}

func (p *docs) freezing(t *testing.T, text string) {
	out := p.shell(t, p.person("operator"), replaced(t, text, map[string]string{"ID": "spiffe://example.org/person/dave", "TEXT": "lost"}))
	if !strings.Contains(out.stdout, "frozen") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
}
