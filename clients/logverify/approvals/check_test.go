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
	"slices"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/logverify/approvals"
)

const (
	permissions = `{"aws":{}}`
	envelope    = `{"agent":"a","environment":"e","on_behalf_of":"","parameters":{"bucket":["b"]},"permissions":` + permissions + `,"role":"s3","scope":"rebuild@1","source_cidrs":null,"task":"t","tier":"destructive","ttl_seconds":300,"v":1}`
)

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
	return fmt.Sprintf(`{"type":"grant.pending","grant_id":"g","envelope":%s,"envelope_digest":%q,"needs":{"sre":2}}`, envelope, digest())
}

const cleared = `{"type":"grant.cleared","grant_id":"g","time":"2026-11-24T10:00:00Z"}`

// issued is an issuance of what was approved, but for what change says.
func issued(change ...string) string {
	sum := sha256.Sum256([]byte(permissions))
	return strings.NewReplacer(change...).Replace(fmt.Sprintf(`{"type":"issuance.intended","grant_id":"g","envelope_digest":%q,"tier":"destructive","agent_spiffe_id":"a","task_id":"t",`+
		`"scope":"rebuild@1","parameters":{"bucket":["b"]},"permissions_digest":%q,"target_service":"aws/s3","not_after":"2026-11-24T10:05:00Z","approvals":{"any":2,"sre":2}}`,
		digest(), hex.EncodeToString(sum[:])))
}

// unasked is an issuance that nobody was asked about.
func unasked(tier, more string) string {
	return fmt.Sprintf(`{"type":"issuance.intended","grant_id":"h","tier":%q%s}`, tier, more)
}

func TestChecker(t *testing.T) {
	alice, bob, mallory := newSigner(t), newSigner(t), newSigner(t)
	signers, err := approvals.ParseSigners([]byte("# people\nalice " + string(ssh.MarshalAuthorizedKey(alice.PublicKey())) +
		`bob namespaces="git,approval@valetkey.dev" ` + string(ssh.MarshalAuthorizedKey(bob.PublicKey()))))
	if err != nil {
		t.Fatal(err)
	}
	yes, also := vote(t, alice, "alice"), vote(t, bob, "bob")
	no := vote(t, bob, "bob", `"approve"`, `"reject"`)
	good := []string{pending(), yes, also, cleared}
	then := func(more ...string) []string { return slices.Concat(good, more) }
	for name, c := range map[string]struct {
		records []string
		want    string // of the last record; empty for no fault
	}{
		"two people":                       {then(issued()), ""},
		"two people, issued twice":         {then(issued(), strings.Replace(issued(), "intended", "issued", 1), issued()), ""},
		"a read that nobody approved":      {[]string{unasked("read", "")}, ""},
		"other records":                    {[]string{`{"type":"task.opened"}`, `{}`}, ""},
		"nobody was asked":                 {[]string{unasked("destructive", "")}, "of 0 people, and has to on 2"},
		"nobody was asked, for admin":      {[]string{unasked("admin", "")}, "of 0 people, and has to on 2"},
		"approvals that nobody gave":       {[]string{unasked("read", `,"approvals":{"any":1}`)}, "of 0 people, and has to on 1"},
		"a tier that is none":              {[]string{unasked("Admin", "")}, "which is none"},
		"no tier":                          {[]string{unasked("", "")}, "which is none"},
		"a name in another case":           {[]string{unasked("admin", `,"TYPE":"x"`)}, "of 0 people"},
		"a name twice":                     {[]string{unasked("admin", `,"tier":"read"`)}, "cannot be read"},
		"nobody said yes":                  {[]string{pending(), cleared, issued()}, "of 0 people, and has to on 2"},
		"one person":                       {[]string{pending(), yes, cleared, issued()}, "of 1 people, and has to on 2"},
		"one person twice":                 {[]string{pending(), yes, yes, cleared, issued()}, "of 1 people"},
		"fewer than were needed":           {[]string{strings.Replace(pending(), `"sre":2`, `"sre":3`, 1), yes, also, cleared, issued()}, "has to on 3"},
		"fewer than the record says":       {then(issued(`"any":2`, `"any":3`)), "has to on 3"},
		"somebody said no":                 {then(no, issued()), "that was over"},
		"somebody said no, after the yes":  {[]string{pending(), yes, also, no, cleared}, "is over"},
		"a yes from before the no, copied": {[]string{pending(), yes, also, no, also}, "a request that is over"},
		"people were asked twice":          {then(pending()), "asked about this grant before"},
		"cleared twice":                    {then(cleared), "cleared before"},
		"never cleared":                    {[]string{pending(), yes, also, issued()}, "another life"},
		"released":                         {then(`{"type":"grant.released","grant_id":"g"}`, issued()), "that was over"},
		"expired":                          {then(`{"type":"grant.expired","grant_id":"g"}`, issued()), "that was over"},
		"another envelope":                 {then(issued(digest(), strings.Repeat("0", 64))), "another envelope"},
		"another agent":                    {then(issued(`"a",`, `"b",`)), "another agent"},
		"a delegate":                       {then(issued(`"task_id"`, `"delegate_spiffe_id":"d","task_id"`)), "another delegate"},
		"another task":                     {then(issued(`"task_id":"t"`, `"task_id":"u"`)), "another task"},
		"another scope":                    {then(issued("rebuild@1", "rebuild@2")), "another scope"},
		"another role":                     {then(issued("aws/s3", "aws/root")), "another role"},
		"another tier":                     {then(issued(`"destructive"`, `"read"`)), "another tier"},
		"another parameter":                {then(issued(`["b"]`, `["c"]`)), "another set of parameters"},
		"other permissions":                {then(issued(`"permissions_digest":"`, `"permissions_digest":"0`)), "another set of permissions"},
		"a longer life":                    {then(issued("10:05:00Z", "10:05:01Z")), "another life"},
		"no end":                           {then(issued(`"not_after":"2026-11-24T10:05:00Z",`, "")), "another life"},
		"an envelope that was changed":     {[]string{strings.Replace(pending(), "rebuild", "rebuilt", 1)}, "not the one whose digest"},
		"what nobody was asked":            {[]string{yes}, "nobody was asked about"},
		"another's key":                    {[]string{pending(), vote(t, bob, "alice")}, "is not a key of alice's"},
		"a stranger":                       {[]string{pending(), vote(t, mallory, "mallory")}, "is not a key of mallory's"},
		"another log":                      {[]string{pending(), vote(t, alice, "alice", `"log"`, `"other"`)}, "about something else"},
		"another grant":                    {[]string{pending(), vote(t, alice, "alice", `"grant_id":"g"`, `"grant_id":"h"`)}, "about something else"},
		"another digest":                   {[]string{pending(), vote(t, alice, "alice", digest(), strings.Repeat("0", 64))}, "about something else"},
		"another version":                  {[]string{pending(), vote(t, alice, "alice", `"v":1`, `"v":2`)}, "about something else"},
		"a no for a yes":                   {[]string{pending(), strings.Replace(vote(t, alice, "alice", `"approve"`, `"reject"`), "approval.refused", "approval.given", 1)}, "about something else"},
		"a statement that was changed":     {[]string{pending(), strings.Replace(yes, `\"nonce\":\"n\"`, `\"nonce\":\"m\"`, 1)}, "has not signed it"},
		"an unknown word":                  {[]string{pending(), vote(t, alice, "alice", `"v":1`, `"v":1,"x":1`)}, "cannot be read"},
		"no signature":                     {[]string{pending(), strings.Replace(yes, "BEGIN SSH", "BEGIN", 1)}, "signature cannot be read"},
		"no JSON":                          {[]string{"x"}, "cannot be read"},
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
		"one person's, under one name":   "alice,bob " + key,
		"has to be one person's":         "alice " + key + "bob " + key,
		`"valid-before=\"20200101\"" is`: `alice valid-before="20200101" ` + key,
	} {
		if _, err := approvals.ParseSigners([]byte(file)); !errors.Is(err, approvals.ErrSigners) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
