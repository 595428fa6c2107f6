package approvals_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/logverify/approvals"
)

const envelope = `{"agent":"a","scope":"rebuild"}`

func digest() string {
	sum := sha256.Sum256([]byte(envelope))
	return hex.EncodeToString(sum[:])
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vote is an approval.given record, whose statement change may spoil before it is
// signed.
func vote(t *testing.T, s ssh.Signer, person string, change ...string) string {
	t.Helper()
	text := fmt.Sprintf(`{"broker":"log","decision":"approve","envelope_digest":%q,"grant_id":"g","nonce":"n","person":%q,"v":1}`, digest(), person)
	text = strings.NewReplacer(change...).Replace(text)
	sig, err := sshsig.Sign(bytes.NewReader([]byte(text)), s, sshsig.HashSHA512, approvals.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	kind := "approval.given"
	if strings.Contains(text, "reject") {
		kind = "approval.refused"
	}
	raw, err := json.Marshal(map[string]any{"type": kind, "grant_id": "g", "approver": person, "approval_statement": text, "approval_signature": string(sshsig.Armor(sig))})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func pending() string {
	return fmt.Sprintf(`{"type":"grant.pending","grant_id":"g","envelope":%s,"envelope_digest":%q}`, envelope, digest())
}

func issued(tier, more string) string {
	return fmt.Sprintf(`{"type":"issuance.intended","grant_id":"g","envelope_digest":%q,"tier":%q%s}`, digest(), tier, more)
}

func TestChecker(t *testing.T) {
	alice, bob, mallory := newSigner(t), newSigner(t), newSigner(t)
	signers, err := approvals.ParseSigners([]byte("# people\nalice " + string(ssh.MarshalAuthorizedKey(alice.PublicKey())) +
		`bob namespaces="git,approval@valetkey.dev" ` + string(ssh.MarshalAuthorizedKey(bob.PublicKey()))))
	if err != nil {
		t.Fatal(err)
	}
	yes, also := vote(t, alice, "alice"), vote(t, bob, "bob")
	for name, c := range map[string]struct {
		records []string
		want    string // of the last record; empty for no fault
	}{
		"two people":                   {[]string{pending(), yes, also, issued("destructive", "")}, ""},
		"a read that nobody approved":  {[]string{issued("read", "")}, ""},
		"other records":                {[]string{`{"type":"task.opened"}`, `{}`}, ""},
		"nobody":                       {[]string{issued("destructive", "")}, "of 0 people, and has to on 2"},
		"one person":                   {[]string{pending(), yes, issued("admin", "")}, "of 1 people, and has to on 2"},
		"one person twice":             {[]string{pending(), yes, yes, issued("destructive", "")}, "of 1 people"},
		"who took it back":             {[]string{pending(), yes, also, vote(t, bob, "bob", `"approve"`, `"reject"`), issued("destructive", "")}, "of 1 people"},
		"fewer than the record says":   {[]string{pending(), yes, issued("read", `,"approvals":{"any":2}`)}, "of 1 people, and has to on 2"},
		"as many as the record says":   {[]string{pending(), yes, issued("read", `,"approvals":{"any":1}`)}, ""},
		"another envelope":             {[]string{pending(), yes, also, strings.Replace(issued("destructive", ""), digest(), strings.Repeat("0", 64), 1)}, "of 0 people"},
		"an envelope that was changed": {[]string{strings.Replace(pending(), "rebuild", "rebuilt", 1)}, "not the one whose digest"},
		"what nobody was asked":        {[]string{yes}, "nobody was asked about"},
		"another's key":                {[]string{pending(), vote(t, bob, "alice")}, "is not a key of alice's"},
		"a stranger":                   {[]string{pending(), vote(t, mallory, "mallory")}, "is not a key of mallory's"},
		"another log":                  {[]string{pending(), vote(t, alice, "alice", `"log"`, `"other"`)}, "about something else"},
		"another grant":                {[]string{pending(), vote(t, alice, "alice", `"grant_id":"g"`, `"grant_id":"h"`)}, "about something else"},
		"another digest":               {[]string{pending(), vote(t, alice, "alice", digest(), strings.Repeat("0", 64))}, "about something else"},
		"another version":              {[]string{pending(), vote(t, alice, "alice", `"v":1`, `"v":2`)}, "about something else"},
		"a no for a yes":               {[]string{pending(), strings.Replace(vote(t, alice, "alice", `"approve"`, `"reject"`), "approval.refused", "approval.given", 1)}, "about something else"},
		"a statement that was changed": {[]string{pending(), strings.Replace(yes, `\"nonce\":\"n\"`, `\"nonce\":\"m\"`, 1)}, "has not signed it"},
		"an unknown word":              {[]string{pending(), vote(t, alice, "alice", `"v":1`, `"v":1,"x":1`)}, "cannot be read"},
		"no signature":                 {[]string{pending(), strings.Replace(yes, "BEGIN SSH", "BEGIN", 1)}, "signature cannot be read"},
		"no JSON":                      {[]string{"x"}, "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			check := approvals.Checker{Origin: "log", Signers: signers, Floor: approvals.DefaultFloor}
			for i, r := range c.records {
				err := check.Record(int64(i), []byte(r))
				last := i == len(c.records)-1
				switch {
				case !last && err != nil, last && c.want == "" && err != nil:
					t.Fatalf("record %d: %v", i, err)
				case last && c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, logverify.ErrVerification)):
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
		})
	}
}

func TestSignersRefuse(t *testing.T) {
	key := string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey()))
	for want, file := range map[string]string{
		"names nobody":                   "# nobody\n",
		"names nobody for":               `alice namespaces="git" ` + key,
		"is no list of names":            "*@example.org " + key,
		`"cert-authority" is not known`:  "alice cert-authority " + key,
		"line 2:":                        "\nalice ssh-ed25519 x",
		`"valid-before=\"20200101\"" is`: `alice valid-before="20200101" ` + key,
	} {
		if _, err := approvals.ParseSigners([]byte(file)); !errors.Is(err, approvals.ErrSigners) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
