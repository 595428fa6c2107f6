package approvals

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/valetkey/valetkey/clients/logverify"
)

// DefaultFloor is how many people a destructive or admin credential rests on where
// the broker's operator has not said otherwise.
const DefaultFloor = 2

// Checker takes the records of a log in their order. It is for one goroutine.
type Checker struct {
	// Origin is the log's name, which approvals are bound to.
	Origin  string
	Signers Signers
	// Floor is how many people a destructive or admin credential has to rest on.
	Floor int

	grants map[string]*grant
	people map[string]bool
	sum    Summary
}

// Summary is what was found.
type Summary struct {
	// Approvals are those that verified, and People how many gave them.
	Approvals int `json:"approvals"`
	People    int `json:"people"`
	// Issuances are those that rest on approvals.
	Issuances int `json:"issuances"`
}

// grant is a request that people were asked about.
type grant struct {
	digest string
	yes    map[string]bool
}

// record is what is read of one.
type record struct {
	Type      string          `json:"type"`
	Grant     string          `json:"grant_id"`
	Digest    string          `json:"envelope_digest"`
	Envelope  json.RawMessage `json:"envelope"`
	Tier      string          `json:"tier"`
	Approver  string          `json:"approver"`
	Statement string          `json:"approval_statement"`
	Signature string          `json:"approval_signature"`
	Approvals map[string]int  `json:"approvals"`
}

// statement is what people sign.
type statement struct {
	V              int    `json:"v"`
	Broker         string `json:"broker"`
	Grant          string `json:"grant_id"`
	EnvelopeDigest string `json:"envelope_digest"`
	Nonce          string `json:"nonce"`
	Person         string `json:"person"`
	Decision       string `json:"decision"`
	Comment        string `json:"comment"`
}

// Record takes the next one. The error is a *logverify.BadRecordError.
func (c *Checker) Record(index int64, leaf []byte) error {
	fault := func(format string, args ...any) error {
		return &logverify.BadRecordError{First: index, Last: index, Problem: fmt.Sprintf(format, args...)}
	}
	var r record
	if err := json.Unmarshal(leaf, &r); err != nil {
		return fault("it is no JSON object: %v", err)
	}
	switch r.Type {
	case "grant.pending":
		envelope := jsontext.Value(slices.Clone(r.Envelope))
		if err := envelope.Canonicalize(); err != nil {
			return fault("its envelope is no JSON: %v", err)
		}
		if sum := sha256.Sum256(envelope); hex.EncodeToString(sum[:]) != r.Digest {
			return fault("its envelope is not the one whose digest people were shown")
		}
		if c.grants == nil {
			c.grants, c.people = map[string]*grant{}, map[string]bool{}
		}
		c.grants[r.Grant] = &grant{digest: r.Digest, yes: map[string]bool{}}
	case "approval.given", "approval.refused":
		if problem := c.vote(r); problem != "" {
			return fault("%s", problem)
		}
	case "issuance.intended", "issuance.issued":
		if problem := c.issuance(r); problem != "" {
			return fault("%s", problem)
		}
	}
	return nil
}

func (c *Checker) vote(r record) (problem string) {
	g := c.grants[r.Grant]
	if g == nil {
		return fmt.Sprintf("%s decides %s, which nobody was asked about", r.Approver, r.Grant)
	}
	var s statement
	// Unlike encoding/json, this takes names as they are written, each once.
	if err := jsonv2.Unmarshal([]byte(r.Statement), &s, jsonv2.RejectUnknownMembers(true)); err != nil {
		return fmt.Sprintf("its statement cannot be read: %v", err)
	}
	want := map[string]string{"approval.given": "approve", "approval.refused": "reject"}[r.Type]
	if s.V != 1 || s.Broker != c.Origin || s.Grant != r.Grant || s.EnvelopeDigest != g.digest || s.Person != r.Approver || s.Decision != want {
		return fmt.Sprintf("the statement of %s is about something else", r.Approver)
	}
	sig, err := sshsig.Unarmor([]byte(r.Signature))
	if err != nil {
		return fmt.Sprintf("its signature cannot be read: %v", err)
	}
	keys := c.Signers[r.Approver]
	at := slices.IndexFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), sig.PublicKey.Marshal()) })
	if at < 0 {
		return fmt.Sprintf("%s is not a key of %s's", ssh.FingerprintSHA256(sig.PublicKey), r.Approver)
	}
	if err := sshsig.Verify(bytes.NewReader([]byte(r.Statement)), sig, keys[at], sig.HashAlgorithm, Namespace); err != nil {
		return fmt.Sprintf("%s has not signed it: %v", r.Approver, err)
	}
	delete(g.yes, r.Approver)
	if want == "approve" {
		g.yes[r.Approver] = true
		c.people[r.Approver] = true
		c.sum.Approvals++
	}
	return ""
}

func (c *Checker) issuance(r record) (problem string) {
	floor := 0
	if r.Tier == "destructive" || r.Tier == "admin" {
		floor = c.Floor
	}
	for _, n := range r.Approvals {
		floor = max(floor, n)
	}
	if floor == 0 {
		return ""
	}
	yes := 0
	if g := c.grants[r.Grant]; g != nil && g.digest == r.Digest {
		yes = len(g.yes)
	}
	if yes < floor {
		return fmt.Sprintf("a credential of the %s tier rests on the approvals of %d people, and has to on %d", r.Tier, yes, floor)
	}
	if r.Type == "issuance.intended" {
		c.sum.Issuances++
	}
	return ""
}

// Summary is of all records so far.
func (c *Checker) Summary() Summary {
	c.sum.People = len(c.people)
	return c.sum
}
