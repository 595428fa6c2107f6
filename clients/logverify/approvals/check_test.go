package approvals_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/logverify/approvals"
)

const permissions = `{"aws":{}}`

// envelope is what people approve, but for what change says.
func envelope(change ...string) string {
	return strings.NewReplacer(change...).Replace(`{"agent":"spiffe://example.org/agent/ann/s1","environment":"e","on_behalf_of":"","parameters":{"bucket":["b"]},"permissions":` +
		permissions + `,"role":"s3","scope":"rebuild@1","source_cidrs":null,"task":"t","tier":"destructive","ttl_seconds":300,"v":1}`)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
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

// securityKey signs as one that has asked for what flags say (PROTOCOL.u2f).
type securityKey struct {
	pub   ssh.PublicKey
	key   ed25519.PrivateKey
	flags byte
}

func newSecurityKey(t *testing.T, flags byte) *securityKey {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type string
		Key  []byte
		App  string
	}{ssh.KeyAlgoSKED25519, pub, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return &securityKey{parsed, key, flags}
}

func (k *securityKey) PublicKey() ssh.PublicKey { return k.pub }

func (k *securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, text := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	rest := binary.BigEndian.AppendUint32([]byte{k.flags}, 1)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.key, slices.Concat(app[:], rest, text[:])), Rest: rest}, nil
}

// asked is one request and those who decide it.
type asked struct {
	t *testing.T
	// change is what of the envelope is otherwise, and needs what was needed.
	change []string
	needs  string
}

func (a asked) envelope() string { return envelope(a.change...) }

func (a asked) pending() string {
	return fmt.Sprintf(`{"type":"grant.pending","grant_id":"g","time":"2026-11-24T10:00:00Z","not_after":"2026-11-24T10:05:00Z","envelope":%s,"envelope_digest":%q,"needs":%s}`,
		a.envelope(), digest(a.envelope()), a.needs)
}

// vote is an approval.given record of somebody's. The statement and the record are
// spoilt as change says before they are signed and written.
func (a asked) vote(s ssh.Signer, person, groups string, change ...string) string {
	a.t.Helper()
	text := fmt.Sprintf(`{"broker":"log","decision":"approve","envelope_digest":%q,"grant_id":"g","groups":%s,"lapses_at":"2026-11-24T10:05:00Z","nonce":"n","person":%q,"signed_at":"2026-11-24T10:01:00Z","v":2}`,
		digest(a.envelope()), groups, person)
	return a.record(s, person, strings.NewReplacer(change...).Replace(text))
}

// old is vote in version 1.
func (a asked) old(s ssh.Signer, person string, change ...string) string {
	a.t.Helper()
	text := fmt.Sprintf(`{"broker":"log","decision":"approve","envelope_digest":%q,"grant_id":"g","nonce":"n","person":%q,"v":1}`, digest(a.envelope()), person)
	return a.record(s, person, strings.NewReplacer(change...).Replace(text))
}

func (a asked) record(s ssh.Signer, person, text string) string {
	a.t.Helper()
	sig, err := sshsig.Sign(bytes.NewReader([]byte(text)), s, sshsig.HashSHA512, approvals.Namespace)
	if err != nil {
		a.t.Fatal(err)
	}
	kind := "approval.given"
	if strings.Contains(text, "reject") {
		kind = "approval.refused"
	}
	raw, err := json.Marshal(map[string]any{
		"type": kind, "grant_id": "g", "time": "2026-11-24T10:01:02Z", "approver": person, "approval_statement": text, "approval_signature": string(sshsig.Armor(sig)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return string(raw)
}

const cleared = `{"type":"grant.cleared","grant_id":"g","time":"2026-11-24T10:02:00Z"}`

// issued is an issuance of what was approved, but for what change says.
func (a asked) issued(change ...string) string {
	return strings.NewReplacer(change...).Replace(fmt.Sprintf(`{"type":"issuance.intended","grant_id":"g","envelope_digest":%q,"tier":"destructive","agent_spiffe_id":"spiffe://example.org/agent/ann/s1","task_id":"t",`+
		`"scope":"rebuild@1","parameters":{"bucket":["b"]},"permissions_digest":%q,"target_service":"aws/s3","not_after":"2026-11-24T10:07:00Z","approvals":{"any":2,"sre":2}}`,
		digest(a.envelope()), digest(permissions)))
}

// unasked is an issuance that nobody was asked about.
func unasked(tier, more string) string {
	return fmt.Sprintf(`{"type":"issuance.intended","grant_id":"h","tier":%q%s}`, tier, more)
}

// line is one of allowed_signers.
func line(names string, s ssh.Signer) string {
	return names + " " + string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

// check takes records until one is a fault, which is to be the last and to say want;
// empty for no fault.
func check(t *testing.T, c *approvals.Checker, records []string, want string) {
	t.Helper()
	for i, r := range records {
		err := c.Record(int64(i), []byte(r))
		last := i == len(records)-1
		switch {
		case !last && err != nil, last && want == "" && err != nil:
			t.Fatalf("record %d: %v", i, err)
		case last && want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, logverify.ErrVerification)):
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func signersOf(t *testing.T, lines ...string) approvals.Signers {
	t.Helper()
	signers, err := approvals.ParseSigners([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return signers
}

func TestChecker(t *testing.T) {
	alice, bob, dave, mallory := newSigner(t), newSigner(t), newSigner(t), newSigner(t)
	signers := signersOf(t, "# people\n", line("alice,@sre", alice), line(`"bob,@sre,@security,Robert Smith,spiffe://example.org/gate/7" namespaces="git,approval@valetkey.dev"`, bob), line("dave,@security", dave))
	a := asked{t: t, needs: `{"sre":2}`}
	with := func(change ...string) asked { return asked{t: t, change: change, needs: `{"sre":2}`} }
	const sre = `["sre"]`
	yes, also := a.vote(alice, "alice", sre), a.vote(bob, "bob", sre)
	no := a.vote(bob, "bob", `[]`, `"approve"`, `"reject"`)
	good := []string{a.pending(), yes, also, cleared}
	then := func(more ...string) []string { return slices.Concat(good, more) }
	at := func(record, time string) string {
		return strings.Replace(record, `"time":"2026-11-24T10:0`, `"time":"`+time+`","x":"`, 1)
	}
	for name, c := range map[string]struct {
		records []string
		want    string // of the last record; empty for no fault
	}{
		"two people":                       {then(a.issued()), ""},
		"two people, issued twice":         {then(a.issued(), strings.Replace(a.issued(), "intended", "issued", 1), a.issued()), ""},
		"a read that nobody approved":      {[]string{unasked("read", "")}, ""},
		"other records":                    {[]string{`{"type":"task.opened"}`, `{}`}, ""},
		"nobody was asked":                 {[]string{unasked("destructive", "")}, "of 0 people, and has to on 2"},
		"nobody was asked, for admin":      {[]string{unasked("admin", "")}, "of 0 people, and has to on 2"},
		"approvals that nobody gave":       {[]string{unasked("read", `,"approvals":{"any":1}`)}, "of 0 people, and has to on 1"},
		"a tier that is none":              {[]string{unasked("Admin", "")}, "which is none"},
		"no tier":                          {[]string{unasked("", "")}, "which is none"},
		"a name in another case":           {[]string{unasked("admin", `,"TYPE":"x"`)}, "of 0 people"},
		"a name twice":                     {[]string{unasked("admin", `,"tier":"read"`)}, "cannot be read"},
		"nobody said yes":                  {[]string{a.pending(), cleared}, "of 0 people, and has to on 2"},
		"one person":                       {[]string{a.pending(), yes, cleared}, "of 1 people, and has to on 2"},
		"one person twice":                 {[]string{a.pending(), yes, yes, cleared}, "of 1 people"},
		"fewer than were needed":           {[]string{strings.Replace(a.pending(), `"sre":2`, `"sre":3`, 1), yes, also, cleared}, "of 2 people, and has to on 3"},
		"fewer of a group":                 {[]string{strings.Replace(a.pending(), `"sre":2`, `"security":1,"sre":2`, 1), yes, also, cleared}, "on 0 people of group security, and has to on 1"},
		"fewer than the record says":       {then(a.issued(`"any":2`, `"any":3`)), "has to on 3"},
		"another group than it says":       {then(a.issued(`"any":2`, `"any":2,"security":1`)), "on 0 people of group security"},
		"somebody said no":                 {then(no, a.issued()), "that was over"},
		"somebody said no, after the yes":  {[]string{a.pending(), yes, also, no, cleared}, "is over"},
		"a yes from before the no, copied": {[]string{a.pending(), yes, also, no, also}, "a request that is over"},
		"people were asked twice":          {then(a.pending()), "asked about this grant before"},
		"nobody is needed":                 {[]string{strings.Replace(a.pending(), `{"sre":2}`, `{}`, 1)}, "whom it needs"},
		"waits for ever":                   {[]string{strings.Replace(a.pending(), `"not_after":"2026-11-24T10:05:00Z",`, ``, 1)}, "until when it waits"},
		"cleared twice":                    {then(cleared), "cleared before"},
		"never cleared":                    {[]string{a.pending(), yes, also, a.issued()}, "another life"},
		"released":                         {then(`{"type":"grant.released","grant_id":"g"}`, a.issued()), "that was over"},
		"expired":                          {then(`{"type":"grant.expired","grant_id":"g"}`, a.issued()), "that was over"},
		"another envelope":                 {then(a.issued(digest(a.envelope()), strings.Repeat("0", 64))), "another envelope"},
		"another agent":                    {then(a.issued(`/ann/`, `/eve/`)), "another agent"},
		"a delegate":                       {then(a.issued(`"task_id"`, `"delegate_spiffe_id":"d","task_id"`)), "another delegate"},
		"another task":                     {then(a.issued(`"task_id":"t"`, `"task_id":"u"`)), "another task"},
		"another scope":                    {then(a.issued("rebuild@1", "rebuild@2")), "another scope"},
		"another role":                     {then(a.issued("aws/s3", "aws/root")), "another role"},
		"another tier":                     {then(a.issued(`"destructive"`, `"read"`)), "another tier"},
		"another parameter":                {then(a.issued(`["b"]`, `["c"]`)), "another set of parameters"},
		"other permissions":                {then(a.issued(`"permissions_digest":"`, `"permissions_digest":"0`)), "another set of permissions"},
		"a longer life":                    {then(a.issued("10:07:00Z", "10:07:01Z")), "another life"},
		"no end":                           {then(a.issued(`"not_after":"2026-11-24T10:07:00Z",`, "")), "another life"},
		"an envelope that was changed":     {[]string{strings.Replace(a.pending(), "rebuild", "rebuilt", 1)}, "not the one whose digest"},
		"what nobody was asked":            {[]string{yes}, "nobody was asked about"},
		"another's key":                    {[]string{a.pending(), a.vote(bob, "alice", sre)}, "is not a key of alice's"},
		"a stranger":                       {[]string{a.pending(), a.vote(mallory, "mallory", sre)}, "is not a key of mallory's"},
		"another log":                      {[]string{a.pending(), a.vote(alice, "alice", sre, `"log"`, `"other"`)}, "about something else"},
		"another grant":                    {[]string{a.pending(), a.vote(alice, "alice", sre, `"grant_id":"g"`, `"grant_id":"h"`)}, "about something else"},
		"another digest":                   {[]string{a.pending(), a.vote(alice, "alice", sre, digest(a.envelope()), strings.Repeat("0", 64))}, "about something else"},
		"a no for a yes":                   {[]string{a.pending(), strings.Replace(a.vote(alice, "alice", `[]`, `"approve"`, `"reject"`), "approval.refused", "approval.given", 1)}, "about something else"},
		"a statement that was changed":     {[]string{a.pending(), strings.Replace(yes, `\"nonce\":\"n\"`, `\"nonce\":\"m\"`, 1)}, "has not signed it"},
		"an unknown word":                  {[]string{a.pending(), a.vote(alice, "alice", sre, `"v":2`, `"v":2,"x":1`)}, "cannot be read"},
		"no signature":                     {[]string{a.pending(), strings.Replace(yes, "BEGIN SSH", "BEGIN", 1)}, "signature cannot be read"},
		"no JSON":                          {[]string{"x"}, "cannot be read"},

		"a version to come":        {[]string{a.pending(), a.vote(alice, "alice", sre, `"v":2`, `"v":3`)}, "version 3, which is not known"},
		"the old one's number":     {[]string{a.pending(), a.vote(alice, "alice", sre, `"v":2`, `"v":1`)}, "not the words of version 1"},
		"without a lapse":          {[]string{a.pending(), a.vote(alice, "alice", sre, `"lapses_at":"2026-11-24T10:05:00Z",`, ``)}, "not the words of version 2"},
		"without groups":           {[]string{a.pending(), a.vote(alice, "alice", sre, `"groups":["sre"],`, ``)}, "not the words of version 2"},
		"groups of another person": {[]string{a.pending(), a.vote(alice, "alice", `["security"]`)}, "for group security, and allowed_signers has them in sre"},
		"one group more":           {[]string{a.pending(), a.vote(bob, "bob", `["security","sre"]`)}, "for group security, which was not asked"},
		"of no needed group":       {[]string{a.pending(), a.vote(dave, "dave", `["sre"]`)}, "dave decides what is not theirs"},
		"a no of no needed group":  {[]string{a.pending(), a.vote(dave, "dave", `[]`, `"approve"`, `"reject"`)}, "dave decides what is not theirs"},
		"one group twice":          {[]string{a.pending(), a.vote(alice, "alice", `["sre","sre"]`)}, "its groups are not sorted, each there once"},
		"groups out of order":      {[]string{strings.Replace(a.pending(), `"sre":2`, `"security":1,"sre":2`, 1), a.vote(bob, "bob", `["sre","security"]`)}, "its groups are not sorted, each there once"},
		"a no for a group":         {[]string{a.pending(), a.vote(bob, "bob", sre, `"approve"`, `"reject"`)}, "a rejection counts for no group"},
		"for nobody":               {[]string{a.pending(), a.vote(alice, "alice", `[]`), also, cleared}, "of 1 people, and has to on 2"},

		"signed after it lapsed":              {[]string{a.pending(), a.vote(alice, "alice", sre, `10:01:00Z`, `10:05:00Z`)}, "alice has signed it at 2026-11-24T10:05:00Z, after it was recorded"},
		"signed at the lapse, kept before it": {[]string{a.pending(), at(a.vote(alice, "alice", sre, `10:01:00Z`, `10:05:00Z`), "2026-11-24T10:04:45Z")}, "when the request had lapsed"},
		"signed and kept after it":            {[]string{a.pending(), at(a.vote(alice, "alice", sre), "2026-11-24T10:05:00Z")}, "a request that had lapsed"},
		"recorded a year later":               {[]string{a.pending(), at(yes, "2027-11-24T10:01:00Z")}, "a request that had lapsed"},
		"signed in the record's future":       {[]string{a.pending(), a.vote(alice, "alice", sre, `10:01:00Z`, `10:01:33Z`)}, "after it was recorded"},
		"signed by a clock ahead":             {[]string{a.pending(), a.vote(alice, "alice", sre, `10:01:00Z`, `10:01:30Z`), also, cleared, a.issued()}, ""},
		"signed before it was asked":          {[]string{a.pending(), a.vote(alice, "alice", sre, `10:01:00Z`, `09:58:00Z`)}, "before it was asked for"},
		"a no when the clock was set back":    {[]string{a.pending(), at(a.vote(bob, "bob", `[]`, `"approve"`, `"reject"`, `10:01:00Z`, `09:40:00Z`), "2026-11-24T09:40:02Z")}, ""},
		"a yes when the clock was set back":   {[]string{a.pending(), at(a.vote(alice, "alice", sre, `10:01:00Z`, `09:40:00Z`), "2026-11-24T09:40:02Z")}, "before it was asked for"},
		"told of another lapse":               {[]string{a.pending(), a.vote(alice, "alice", sre, `10:05:00Z`, `10:06:00Z`)}, "alice was told that the request lapses at"},
		"cleared at the lapse":                {[]string{a.pending(), yes, also, at(cleared, "2026-11-24T10:05:00Z")}, "it clears a request that had lapsed"},
		"cleared a year later":                {[]string{a.pending(), yes, also, at(cleared, "2027-11-24T10:02:00Z")}, "it clears a request that had lapsed"},
		"a yes when it was cleared":           {[]string{a.pending(), yes, also, cleared, yes}, "was cleared before"},
		"a yes without a time":                {[]string{a.pending(), strings.Replace(yes, `"time"`, `"tyme"`, 1)}, "it has no time"},

		"the requester":             {[]string{with("/ann/", "/alice/").pending(), with("/ann/", "/alice/").vote(alice, "alice", sre)}, "in their own name, by spiffe://example.org/agent/alice/s1"},
		"the requester by an alias": {[]string{with("/ann/", "/robert.smith/").pending(), with("/ann/", "/robert.smith/").vote(bob, "bob", sre)}, "in their own name"},
		"the requester by an ID":    {[]string{with("agent/ann/s1", "gate/7").pending(), with("agent/ann/s1", "gate/7").vote(bob, "bob", sre)}, "in their own name"},
		"the delegate": {[]string{with(`"environment"`, `"delegate":"spiffe://example.org/gate/7","environment"`).pending(),
			with(`"environment"`, `"delegate":"spiffe://example.org/gate/7","environment"`).vote(bob, "bob", sre)}, "through spiffe://example.org/gate/7"},
		"who was named":                {[]string{with(`of":""`, `of":"Alice <alice@corp.example>"`).pending(), with(`of":""`, `of":"Alice <alice@corp.example>"`).vote(alice, "alice", sre)}, "and is counted"},
		"who was named, old":           {[]string{with(`of":""`, `of":"alice"`).pending(), with(`of":""`, `of":"alice"`).old(alice, "alice")}, "and is counted"},
		"the requester may say no":     {[]string{with("/ann/", "/alice/").pending(), with("/ann/", "/alice/").vote(alice, "alice", `[]`, `"approve"`, `"reject"`)}, ""},
		"who is frozen":                {[]string{a.pending(), `{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org/gate/7"}`, a.vote(bob, "bob", sre)}, "bob approves while an operator has stopped"},
		"under a frozen path":          {[]string{a.pending(), `{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org"}`, a.vote(bob, "bob", sre)}, "bob approves while an operator has stopped"},
		"another path is frozen":       {[]string{a.pending(), `{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org/gat"}`, yes, also, cleared, a.issued()}, ""},
		"frozen before it was cleared": {[]string{a.pending(), yes, also, `{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org/gate"}`, cleared}, "of 1 people, and has to on 2"},
		"frozen before it was minted":  {then(`{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org/gate/7"}`, a.issued()), "of 1 people, and has to on 2"},
		"frozen, and let go on":        {then(`{"type":"agent.frozen","agent_spiffe_id":"spiffe://example.org/gate/7"}`, `{"type":"agent.unfrozen","agent_spiffe_id":"spiffe://example.org/gate/7"}`, a.issued()), ""},
		"old, two people":              {[]string{a.pending(), a.old(alice, "alice"), a.old(bob, "bob"), cleared, a.issued()}, ""},
		"old, of no needed group":      {[]string{a.pending(), a.old(dave, "dave")}, "dave decides what is not theirs"},
		"old, after the lapse":         {[]string{a.pending(), at(a.old(alice, "alice"), "2026-11-24T10:05:00Z")}, "a request that had lapsed"},
		"old, with the newer words":    {[]string{a.pending(), a.old(alice, "alice", `"v":1`, `"signed_at":"2026-11-24T10:01:00Z","v":1`)}, "not the words of version 1"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, &approvals.Checker{Origin: "log", Signers: signers, Floor: approvals.DefaultFloor, Hardware: approvals.DefaultHardware}, c.records, c.want)
		})
	}
}

// TestWhomTheAgentNames has to have said yes, and counts for no group.
func TestWhomTheAgentNames(t *testing.T) {
	alice, bob, carol := newSigner(t), newSigner(t), newSigner(t)
	signers := signersOf(t, line("alice,@sre", alice), line("bob,@sre", bob), line("carol,@sre", carol))
	a := asked{t: t, needs: `{"sre":2}`, change: []string{`of":""`, `of":"ticket 7, for carol"`}}
	two := []string{a.pending(), a.vote(alice, "alice", `["sre"]`), a.vote(bob, "bob", `["sre"]`)}
	for name, c := range map[string]struct {
		records []string
		want    string
	}{
		"and she has":                      {append(slices.Clone(two), a.vote(carol, "carol", `[]`), cleared, a.issued()), ""},
		"and she has not":                  {append(slices.Clone(two), cleared), `on behalf of "ticket 7, for carol", and carol has not approved it`},
		"and she counts":                   {[]string{a.pending(), a.vote(alice, "alice", `["sre"]`), a.vote(carol, "carol", `["sre"]`)}, "and is counted"},
		"and she is one of two":            {[]string{a.pending(), a.vote(alice, "alice", `["sre"]`), a.vote(carol, "carol", `[]`), cleared}, "of 1 people, and has to on 2"},
		"and she was no approver then":     {append([]string{`{"type":"broker.started","approver_keys":{"alice":[],"bob":[]}}`}, append(slices.Clone(two), cleared, a.issued())...), ""},
		"and the older broker did not ask": {[]string{a.pending(), a.old(alice, "alice"), a.old(bob, "bob"), cleared, a.issued()}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, &approvals.Checker{Origin: "log", Signers: signers, Floor: approvals.DefaultFloor, Hardware: approvals.DefaultHardware}, c.records, c.want)
		})
	}
}

// TestHardware holds each kind of key against a request of the admin tier.
func TestHardware(t *testing.T) {
	pin, touch, soft, other := newSecurityKey(t, 0x05), newSecurityKey(t, 0x01), newSigner(t), newSecurityKey(t, 0x05)
	untouched := newSecurityKey(t, 0x04)
	signers := signersOf(t, line("untouched,@sre", untouched), line("pin,@sre", pin), line("touch,@sre", touch), line("soft,@sre", soft), line("other,@sre", other))
	a := asked{t: t, needs: `{"sre":2}`, change: []string{`"destructive"`, `"admin"`}}
	yes := func(s ssh.Signer, name string) string { return a.vote(s, name, `["sre"]`) }
	for name, c := range map[string]struct {
		hardware string
		records  []string
		want     string
	}{
		"two with a PIN":            {"admin", []string{a.pending(), yes(pin, "pin"), yes(other, "other"), cleared, a.issued(`"destructive"`, `"admin"`)}, ""},
		"a touch":                   {"admin", []string{a.pending(), yes(touch, "touch")}, "without a security key that asked for a PIN"},
		"without a touch":           {"none", []string{a.pending(), yes(untouched, "untouched")}, "untouched has not signed it"},
		"a key in a file":           {"admin", []string{a.pending(), yes(soft, "soft")}, "without a security key"},
		"a key in a file, old":      {"admin", []string{a.pending(), a.old(soft, "soft")}, "without a security key"},
		"a lower tier's bar":        {"read", []string{a.pending(), yes(touch, "touch")}, "without a security key"},
		"where none is asked for":   {"none", []string{a.pending(), yes(touch, "touch"), yes(soft, "soft"), cleared, a.issued(`"destructive"`, `"admin"`)}, ""},
		"a no with a key in a file": {"admin", []string{a.pending(), a.vote(soft, "soft", `[]`, `"approve"`, `"reject"`)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, &approvals.Checker{Origin: "log", Signers: signers, Floor: approvals.DefaultFloor, Hardware: c.hardware}, c.records, c.want)
		})
	}
	for _, bad := range []string{"", "Admin", "pin"} {
		if approvals.CheckHardware(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestSummary(t *testing.T) {
	alice, bob := newSigner(t), newSigner(t)
	a := asked{t: t, needs: `{"any":2}`}
	c := &approvals.Checker{Origin: "log", Signers: signersOf(t, line("alice", alice), line("bob,@sre", bob)), Floor: 2, Hardware: "admin"}
	check(t, c, []string{a.pending(), a.old(alice, "alice"), a.vote(bob, "bob", `["any"]`), cleared, a.issued(`"any":2,"sre":2`, `"any":2`)}, "")
	if got, want := c.Summary(), (approvals.Summary{Approvals: 2, People: 2, Old: 1, Issuances: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
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
		"alice and bob go by the same":   line("alice,x", newSigner(t)) + line("bob,X", newSigner(t)),
		"does not begin with":            "@sre,alice " + key,
		"a quote that does not end":      `"alice,@sre ` + key,
		`"@SRE" is no group`:             "alice,@SRE " + key,
		`"@any" is no group`:             "alice,@any " + key,
		"no letter and no digit":         "alice,- " + key,
		"has to be one person's":         "alice " + key + "bob " + key,
		`"valid-before=\"20200101\"" is`: `alice valid-before="20200101" ` + key,
	} {
		if _, err := approvals.ParseSigners([]byte(file)); !errors.Is(err, approvals.ErrSigners) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
