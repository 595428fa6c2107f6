package approvals

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
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
	digest   string
	envelope envelope
	// most is the largest number of people that one group was asked for.
	most  int
	yes   map[string]bool
	ended bool
	// cleared is when its life began; zero for not yet.
	cleared time.Time
}

// envelope is all that people approve.
type envelope struct {
	V           int                 `json:"v"`
	Agent       string              `json:"agent"`
	Delegate    string              `json:"delegate"`
	Task        string              `json:"task"`
	Environment string              `json:"environment"`
	OnBehalfOf  string              `json:"on_behalf_of"`
	Scope       string              `json:"scope"`
	Role        string              `json:"role"`
	Tier        string              `json:"tier"`
	Parameters  map[string][]string `json:"parameters"`
	Permissions jsontext.Value      `json:"permissions"`
	SourceCIDRs []string            `json:"source_cidrs"`
	Regions     []string            `json:"regions"`
	TTLSeconds  int64               `json:"ttl_seconds"`
}

// record is what is read of one.
type record struct {
	Type        string              `json:"type"`
	Time        time.Time           `json:"time"`
	Grant       string              `json:"grant_id"`
	Agent       string              `json:"agent_spiffe_id"`
	Delegate    string              `json:"delegate_spiffe_id"`
	Task        string              `json:"task_id"`
	Digest      string              `json:"envelope_digest"`
	Envelope    jsontext.Value      `json:"envelope"`
	Tier        string              `json:"tier"`
	Scope       string              `json:"scope"`
	Params      map[string][]string `json:"parameters"`
	Permissions string              `json:"permissions_digest"`
	Service     string              `json:"target_service"`
	NotAfter    time.Time           `json:"not_after"`
	Needs       map[string]int      `json:"needs"`
	Approvals   map[string]int      `json:"approvals"`
	Approver    string              `json:"approver"`
	Statement   string              `json:"approval_statement"`
	Signature   string              `json:"approval_signature"`
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
	var r record
	problem := ""
	// Unlike encoding/json, this takes names as they are written, each once.
	if err := json.Unmarshal(leaf, &r); err != nil {
		problem = fmt.Sprintf("it cannot be read: %v", err)
	} else {
		problem = c.take(r)
	}
	if problem != "" {
		return &logverify.BadRecordError{First: index, Last: index, Problem: problem}
	}
	return nil
}

func (c *Checker) take(r record) (problem string) {
	switch r.Type {
	case "grant.pending":
		return c.pending(r)
	case "approval.given", "approval.refused":
		return c.vote(r)
	case "grant.cleared":
		if g := c.grants[r.Grant]; g != nil {
			if g.ended || !g.cleared.IsZero() {
				return "it clears a request that is over, or was cleared before"
			}
			g.cleared = r.Time
		}
	case "grant.rejected", "grant.lapsed", "grant.released", "grant.revoked", "grant.expired", "grant.denied":
		if g := c.grants[r.Grant]; g != nil {
			g.ended = true
		}
	case "issuance.intended", "issuance.issued":
		return c.issuance(r)
	}
	return ""
}

func (c *Checker) pending(r record) (problem string) {
	envelope := slices.Clone(r.Envelope)
	if err := envelope.Canonicalize(); err != nil {
		return fmt.Sprintf("its envelope is no JSON: %v", err)
	}
	if digest(envelope) != r.Digest {
		return "its envelope is not the one whose digest people were shown"
	}
	g := &grant{digest: r.Digest, yes: map[string]bool{}}
	if err := json.Unmarshal(envelope, &g.envelope, json.RejectUnknownMembers(true)); err != nil || g.envelope.V != 1 {
		return fmt.Sprintf("its envelope is of a kind that is not known here: %v", err)
	}
	for _, n := range r.Needs {
		g.most = max(g.most, n)
	}
	if c.grants[r.Grant] != nil {
		return "people were asked about this grant before"
	}
	if c.grants == nil {
		c.grants, c.people = map[string]*grant{}, map[string]bool{}
	}
	c.grants[r.Grant] = g
	return ""
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (c *Checker) vote(r record) (problem string) {
	g := c.grants[r.Grant]
	if g == nil {
		return fmt.Sprintf("%s decides %s, which nobody was asked about", r.Approver, r.Grant)
	}
	var s statement
	if err := json.Unmarshal([]byte(r.Statement), &s, json.RejectUnknownMembers(true)); err != nil {
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
	switch {
	case want == "reject":
		g.ended = true
	case g.ended:
		return fmt.Sprintf("%s approves a request that is over", r.Approver)
	default:
		g.yes[r.Approver] = true
		c.people[r.Approver] = true
		c.sum.Approvals++
	}
	return ""
}

func (c *Checker) issuance(r record) (problem string) {
	g := c.grants[r.Grant]
	if g == nil { // nobody was asked, and what the record says is all there is
		need, known := c.floor(r.Tier)
		for _, n := range r.Approvals {
			need = max(need, n)
		}
		switch {
		case !known:
			return fmt.Sprintf("a credential of the tier %q, which is none", r.Tier)
		case need > 0:
			return fmt.Sprintf("a credential of the %s tier rests on the approvals of 0 people, and has to on %d", r.Tier, need)
		}
		return ""
	}
	need, known := c.floor(g.envelope.Tier)
	for _, n := range r.Approvals {
		need = max(need, n)
	}
	if need = max(need, g.most); !known || len(g.yes) < need {
		return fmt.Sprintf("a credential of the %s tier rests on the approvals of %d people, and has to on %d", g.envelope.Tier, len(g.yes), need)
	}
	if g.ended {
		return "a credential of a request that was over"
	}
	if what := g.differs(r); what != "" {
		return fmt.Sprintf("a credential of another %s than people approved", what)
	}
	if r.Type == "issuance.intended" {
		c.sum.Issuances++
	}
	return ""
}

// floor is how many people a tier's credential has to rest on.
func (c *Checker) floor(tier string) (people int, known bool) {
	switch tier {
	case "read", "write":
		return 0, true
	case "destructive", "admin":
		return c.Floor, true
	}
	return 0, false
}

// differs names what of an issuance is not as it was approved; empty for nothing.
func (g *grant) differs(r record) string {
	e := g.envelope
	_, role, _ := strings.Cut(r.Service, "/")
	for what, same := range map[string]bool{
		"envelope": r.Digest == g.digest, "agent": r.Agent == e.Agent, "delegate": r.Delegate == e.Delegate, "task": r.Task == e.Task,
		"scope": r.Scope == e.Scope, "role": role == e.Role, "tier": r.Tier == e.Tier,
		"set of parameters":  maps.EqualFunc(r.Params, e.Parameters, slices.Equal),
		"set of permissions": r.Permissions == digest(e.Permissions),
		"life":               !g.cleared.IsZero() && !r.NotAfter.IsZero() && !r.NotAfter.After(g.cleared.Add(time.Duration(e.TTLSeconds)*time.Second)),
	} {
		if !same {
			return what
		}
	}
	return ""
}

// Summary is of all records so far.
func (c *Checker) Summary() Summary {
	c.sum.People = len(c.people)
	return c.sum
}
