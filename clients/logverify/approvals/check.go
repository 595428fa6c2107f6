package approvals

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/valetkey/valetkey/clients/logverify"
)

// DefaultFloor is how many people a destructive or admin credential rests on where
// the broker's operator has not said otherwise.
const DefaultFloor = 2

// DefaultHardware is the lowest tier that is approved with a security key that asks for
// a PIN or a fingerprint, where the broker's operator has not said otherwise.
const DefaultHardware = "admin"

// leeway is how far the clocks of a person and the broker may be apart.
const leeway = 30 * time.Second

// tiers are in their order.
var tiers = []string{"read", "write", "destructive", "admin"}

// Checker takes the records of a log in their order. It is for one goroutine.
type Checker struct {
	// Origin is the log's name, which approvals are bound to.
	Origin  string
	Signers Signers
	// Floor is how many people a destructive or admin credential has to rest on.
	Floor int
	// Hardware is the lowest tier that takes a security key's signature with a PIN or a
	// fingerprint alone; "none" for no tier.
	Hardware string

	grants map[string]*grant
	people map[string]bool
	// listed are the broker's approvers, as it has said at its last start; nil before.
	listed map[string]bool
	// frozen are the IDs, and the paths above IDs, that operators have stopped.
	frozen map[string]bool
	sum    Summary
}

// Summary is what was found.
type Summary struct {
	// Approvals are those that verified, and People how many gave them.
	Approvals int `json:"approvals"`
	People    int `json:"people"`
	// Old are the approvals of version 1 among them, which say neither for which groups
	// they count nor when they were signed: for those, the record's time and your
	// allowed_signers are all there is.
	Old int `json:"old"`
	// Issuances are those that rest on approvals.
	Issuances int `json:"issuances"`
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
	// ApproverKeys are the broker's approvers and the fingerprints of their keys.
	ApproverKeys map[string][]string `json:"approver_keys"`
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
	case "broker.started":
		c.listed = map[string]bool{}
		for name := range r.ApproverKeys {
			c.listed[name] = true
		}
	case "agent.frozen", "agent.unfrozen":
		if c.frozen == nil {
			c.frozen = map[string]bool{}
		}
		c.frozen[r.Agent] = r.Type == "agent.frozen"
	case "grant.pending":
		return c.pending(r)
	case "approval.given", "approval.refused":
		return c.vote(r)
	case "grant.cleared":
		if g := c.grants[r.Grant]; g != nil {
			return c.clear(g, r)
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
	g := &grant{digest: r.Digest, needs: r.Needs, asked: r.Time, lapses: r.NotAfter, yes: map[string]yes{}}
	if err := json.Unmarshal(envelope, &g.envelope, json.RejectUnknownMembers(true)); err != nil || g.envelope.V != 1 {
		return fmt.Sprintf("its envelope is of a kind that is not known here: %v", err)
	}
	switch {
	case c.grants[r.Grant] != nil:
		return "people were asked about this grant before"
	case len(r.Needs) == 0 || r.Time.IsZero() || !r.NotAfter.After(r.Time):
		return "it says not whom it needs, or not until when it waits"
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
	s, problem := readStatement(r.Statement)
	if problem != "" {
		return problem
	}
	want := map[string]string{"approval.given": "approve", "approval.refused": "reject"}[r.Type]
	if s.Broker != c.Origin || s.Grant != r.Grant || s.EnvelopeDigest != g.digest || s.Person != r.Approver || s.Decision != want {
		return fmt.Sprintf("the statement of %s is about something else", r.Approver)
	}
	verified, problem := c.Signers.signedBy(r.Approver, r.Statement, r.Signature)
	if problem == "" {
		problem = g.inTime(r, s)
	}
	if problem != "" {
		return problem
	}
	p := c.Signers[r.Approver]
	if !g.concerns(p) {
		return fmt.Sprintf("%s decides what is not theirs: it needs %s, and allowed_signers has them in %s", p.name, list(slices.Sorted(maps.Keys(g.needs))), list(p.groups))
	}
	if want == "reject" {
		g.ended = true
		return ""
	}
	if problem = c.approves(g, p, s, verified); problem != "" {
		return problem
	}
	c.people[p.name] = true
	c.sum.Approvals++
	if s.old() {
		c.sum.Old++
	}
	return ""
}

// approves counts a yes that is signed, or says why it does not count.
func (c *Checker) approves(g *grant, p *person, s statement, verified bool) (problem string) {
	needsHardware := slices.Contains(tiers, c.Hardware) && slices.Index(tiers, g.envelope.Tier) >= slices.Index(tiers, c.Hardware)
	named := p.goesBy(g.envelope.OnBehalfOf)
	switch {
	case g.ended:
		return fmt.Sprintf("%s approves a request that is over", p.name)
	case !g.cleared.IsZero():
		return fmt.Sprintf("%s approves a request that was cleared before", p.name)
	case c.isFrozen(p):
		return fmt.Sprintf("%s approves while an operator has stopped their decisions", p.name)
	case g.isAsking(p):
		return fmt.Sprintf("%s approves what was asked for in their own name, by %s", p.name, g.envelope.asker())
	case needsHardware && !verified:
		return fmt.Sprintf("%s approves a request of the %s tier without a security key that asked for a PIN or a fingerprint", p.name, g.envelope.Tier)
	case named && (s.old() || len(s.Groups) > 0):
		return fmt.Sprintf("%s approves what was asked for on behalf of %q, and is counted", p.name, g.envelope.OnBehalfOf)
	}
	groups := s.Groups
	if s.old() {
		groups = append(slices.Clone(p.groups), anyGroup)
	}
	for _, group := range groups {
		switch _, needed := g.needs[group]; {
		case !p.isIn(group):
			return fmt.Sprintf("%s approves for group %s, and allowed_signers has them in %s", p.name, group, list(p.groups))
		case !needed && !s.old():
			return fmt.Sprintf("%s approves for group %s, which was not asked", p.name, group)
		}
	}
	g.yes[p.name] = yes{groups: groups, old: s.old()}
	return ""
}

func (c *Checker) clear(g *grant, r record) (problem string) {
	switch {
	case g.ended || !g.cleared.IsZero():
		return "it clears a request that is over, or was cleared before"
	case r.Time.IsZero() || !r.Time.Before(g.lapses):
		return fmt.Sprintf("it clears a request that had lapsed at %s", g.lapses.Format(time.RFC3339))
	}
	g.cleared = r.Time
	return c.enough(g, r.Approvals)
}

// enough says what the people who approve g fall short of: what was needed, what the
// record says they are, and the floor. Empty for nothing.
func (c *Checker) enough(g *grant, recorded map[string]int) (problem string) {
	floor, known := c.floor(g.envelope.Tier)
	if !known {
		return fmt.Sprintf("a credential of the tier %q, which is none", g.envelope.Tier)
	}
	needs := map[string]int{anyGroup: floor}
	for _, more := range []map[string]int{g.needs, recorded} {
		for group, n := range more {
			needs[group] = max(needs[group], n)
			needs[anyGroup] = max(needs[anyGroup], n)
		}
	}
	heard := map[string]yes{} // a freeze takes the yes of before it, too
	for name, y := range g.yes {
		if !c.isFrozen(c.Signers[name]) {
			heard[name] = y
		}
	}
	got := counts(heard)
	for _, group := range slices.Sorted(maps.Keys(needs)) { // any is the first that matters to people
		if got[group] >= needs[group] {
			continue
		}
		if group == anyGroup {
			return fmt.Sprintf("a credential of the %s tier rests on the approvals of %d people, and has to on %d", g.envelope.Tier, got[group], needs[group])
		}
		return fmt.Sprintf("a credential of the %s tier rests on %d people of group %s, and has to on %d", g.envelope.Tier, got[group], group, needs[group])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Signers)) {
		p := c.Signers[name]
		_, said := heard[name]
		if !said && g.heardAnew() && (c.listed == nil || c.listed[name]) && g.concerns(p) && !g.isAsking(p) && p.goesBy(g.envelope.OnBehalfOf) {
			return fmt.Sprintf("it was asked for on behalf of %q, and %s has not approved it", g.envelope.OnBehalfOf, name)
		}
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
	if problem := c.enough(g, r.Approvals); problem != "" {
		return problem
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

// isFrozen says whether an operator has stopped an ID of somebody's, or a path above it.
// Of whom allowed_signers gives no ID, that is not known.
func (c *Checker) isFrozen(p *person) bool {
	return slices.ContainsFunc(p.ids, func(id string) bool {
		for at := id; strings.HasPrefix(at, "spiffe://") && len(at) > len("spiffe://"); at = at[:strings.LastIndexByte(at, '/')] {
			if c.frozen[at] {
				return true
			}
		}
		return false
	})
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

// Summary is of all records so far.
func (c *Checker) Summary() Summary {
	c.sum.People = len(c.people)
	return c.sum
}

// CheckHardware is an error for what is no value of Checker.Hardware.
func CheckHardware(tier string) error {
	if tier == "none" || slices.Contains(tiers, tier) {
		return nil
	}
	return fmt.Errorf("%q is not %s or none", tier, strings.Join(tiers, ", "))
}

func list(groups []string) string {
	if len(groups) == 0 {
		return "no group"
	}
	return strings.Join(groups, ", ")
}
