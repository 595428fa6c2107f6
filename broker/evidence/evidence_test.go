package evidence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/broker/evidence"
)

func statement() evidence.Statement {
	return evidence.Statement{
		V: evidence.Version, Broker: "log.example.org", Grant: "grant_1", EnvelopeDigest: strings.Repeat("ab", 32), Nonce: "n",
		Person: "alice", Decision: evidence.Approve, Comment: "caf\u00e9 \u202e <&>",
		Groups: []string{"any", "sre"}, SignedAt: time.Date(2026, 11, 29, 21, 0, 0, 0, time.UTC), LapsesAt: time.Date(2026, 11, 29, 21, 5, 0, 0, time.UTC),
	}
}

// sshKeygen runs the real one.
func sshKeygen(t *testing.T, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &said
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("ssh-keygen is missing: apt-get install openssh-client")
	}
	if err != nil {
		t.Logf("ssh-keygen %q: %s", args, said.String())
	}
	return out.Bytes(), err
}

// What OpenSSH signs is verified here, and the other way round by anybody who has
// ssh-keygen and an allowed_signers file.
func TestOpenSSH(t *testing.T) {
	text, err := statement().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"ed25519": {"-t", "ed25519"}, "ecdsa-256": {"-t", "ecdsa", "-b", "256"}, "ecdsa-384": {"-t", "ecdsa", "-b", "384"}, "ecdsa-521": {"-t", "ecdsa", "-b", "521"},
		"rsa-3072": {"-t", "rsa", "-b", "3072"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if _, err := sshKeygen(t, nil, append(args, "-q", "-N", "", "-f", file)...); err != nil {
				t.Fatal(err)
			}
			line, err := os.ReadFile(file + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			key, err := evidence.ParseKey(string(line))
			if err != nil {
				t.Fatal(err)
			}
			armored, err := sshKeygen(t, text, "-Y", "sign", "-n", evidence.Namespace, "-f", file)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := evidence.Check(text, string(armored), []ssh.PublicKey{key})
			if err != nil || signer.Verified || evidence.Hardware(signer.Key) {
				t.Fatal(signer, err)
			}
			sig, allowed := filepath.Join(t.TempDir(), "sig"), filepath.Join(t.TempDir(), "allowed_signers")
			if err := errors.Join(os.WriteFile(sig, []byte(signer.Armored), 0o600), os.WriteFile(allowed, append([]byte("alice,spiffe://example.org/person/alice,@sre "), line...), 0o600)); err != nil {
				t.Fatal(err)
			}
			if _, err := sshKeygen(t, text, "-Y", "verify", "-f", allowed, "-I", "alice", "-n", evidence.Namespace, "-s", sig); err != nil {
				t.Errorf("OpenSSH does not take what is kept: %v", err)
			}
			for what, changed := range map[string][]byte{
				"the statement": bytes.Replace(text, []byte("approve"), []byte("appr0ve"), 1),
				"nothing":       nil,
			} {
				if _, err := evidence.Check(changed, string(armored), []ssh.PublicKey{key}); !errors.Is(err, evidence.ErrSignature) {
					t.Errorf("of %s changed: %v", what, err)
				}
			}
			parsed, err := sshsig.Unarmor(armored)
			if err != nil {
				t.Fatal(err)
			}
			parsed.Signature.Rest = []byte("more")
			if _, err := evidence.Check(text, string(sshsig.Armor(parsed)), []ssh.PublicKey{key}); !errors.Is(err, evidence.ErrSignature) {
				t.Errorf("with something behind it: %v", err)
			}
			other, err := sshKeygen(t, text, "-Y", "sign", "-n", "file", "-f", file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := evidence.Check(text, string(other), []ssh.PublicKey{key}); !errors.Is(err, evidence.ErrSignature) {
				t.Errorf("in another namespace: %v", err)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if _, err := sshKeygen(t, nil, append(args, "-q", "-N", "", "-f", file)...); err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	}
	good, short := make("good", "-t", "ed25519"), make("short", "-t", "rsa", "-b", "2048")
	if _, err := sshKeygen(t, nil, "-q", "-s", filepath.Join(dir, "good"), "-I", "id", filepath.Join(dir, "good.pub")); err != nil {
		t.Fatal(err)
	}
	cert, err := os.ReadFile(filepath.Join(dir, "good-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"nothing": "", "no key": "alice", "RSA of 2048 bits": short, "a certificate": string(cert), "options": `no-pty ` + good, "two keys": good + good,
		"a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
	} {
		if _, err := evidence.ParseKey(line); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatementsThatAreNone has each part that people sign wrong once.
func TestStatementsThatAreNone(t *testing.T) {
	for name, change := range map[string]func(*evidence.Statement){
		"the old version":        func(s *evidence.Statement) { s.V = 1 },
		"no lapse":               func(s *evidence.Statement) { s.LapsesAt = time.Time{} },
		"no time":                func(s *evidence.Statement) { s.SignedAt = time.Time{} },
		"a part of a second":     func(s *evidence.Statement) { s.SignedAt = s.SignedAt.Add(time.Millisecond) },
		"another zone":           func(s *evidence.Statement) { s.LapsesAt = s.LapsesAt.In(time.FixedZone("", 3600)) },
		"groups out of order":    func(s *evidence.Statement) { s.Groups = []string{"sre", "any"} },
		"a group twice":          func(s *evidence.Statement) { s.Groups = []string{"sre", "sre"} },
		"a rejection for groups": func(s *evidence.Statement) { s.Decision = evidence.Reject },
	} {
		s := statement()
		change(&s)
		if text, err := s.Canonical(); !errors.Is(err, evidence.ErrStatement) {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
	for _, text := range []string{`,"groups":["any","sre"]`, `"lapses_at":"2026-11-29T21:05:00Z",`} {
		whole, err := statement().Canonical()
		if err != nil {
			t.Fatal(err)
		}
		less := bytes.Replace(whole, []byte(text), nil, 1)
		if _, err := evidence.Parse(less); !errors.Is(err, evidence.ErrStatement) || len(less) == len(whole) {
			t.Errorf("without %s: %v", text, err)
		}
	}
}

// What parses is what was written, byte for byte.
func FuzzStatement(f *testing.F) {
	text, err := statement().Canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"v":2}`))
	f.Add(bytes.Replace(text, []byte(`"v":2`), []byte(`"v":2.0`), 1))
	f.Add(bytes.Replace(text, []byte(`["any","sre"]`), []byte(`null`), 1))
	f.Add(bytes.Replace(text, []byte(`21:05:00Z`), []byte(`22:05:00+01:00`), 1))
	f.Add(bytes.Replace(text, []byte(`"person"`), []byte(`"Person"`), 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := evidence.Parse(raw)
		if err != nil {
			return
		}
		again, err := s.Canonical()
		if err != nil || !bytes.Equal(again, raw) || !json.Valid(raw) {
			t.Errorf("%q parses as %+v, which is %q: %v", raw, s, again, err)
		}
	})
}
