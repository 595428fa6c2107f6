package approval

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes"
)

var (
	// ErrEvidence means that a vote is not a signed statement of this request by who
	// sends it.
	ErrEvidence = errors.New("invalid approval")
	// ErrNotEligible means that this person's vote does not count here: they stand
	// in the chain that asks, or in no group that is needed.
	ErrNotEligible = errors.New("not eligible to approve")
)

// Case is one request that people decide.
type Case struct {
	Grant, Digest, Nonce, Tier string
	// Needs are those of the request, before anybody has voted.
	Needs []policy.Need
	// Identity names who asks, by what was verified: the agent, who speaks for it,
	// and the parts of its path. Claim is on whose behalf it says it acts.
	Identity []string
	Claim    string
}

// IdentityOf is what was verified of who asks d.
func IdentityOf(d policy.Decision) []string {
	a := d.Agent()
	names := []string{a.ID().String()}
	if del := a.Delegate(); !del.IsZero() {
		names = append(names, del.String())
	}
	names = slices.AppendSeq(names, maps.Values(a.Attributes()))
	slices.Sort(names)
	return slices.Compact(names)
}

// Vote is one person's signed decision, as it is kept.
type Vote struct {
	Person    string
	Decision  evidence.Decision
	Comment   string
	Statement []byte
	Signature string
}

// Judge verifies a statement and its signature on a case, sent by who calls with
// the SPIFFE ID caller. The error wraps ErrEvidence or ErrNotEligible.
func (b *Board) Judge(c Case, caller string, statement []byte, signature string) (Vote, error) {
	p := b.byID[caller]
	if p == nil {
		return Vote{}, fmt.Errorf("%w: %s is nobody who approves", ErrNotEligible, caller)
	}
	return b.verify(c, p, statement, signature)
}

func (b *Board) verify(c Case, p *person, statement []byte, signature string) (Vote, error) {
	s, err := evidence.Parse(statement)
	if err != nil {
		return Vote{}, fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	for _, part := range []struct{ name, got, want string }{
		{"broker", s.Broker, b.broker}, {"grant", s.Grant, c.Grant}, {"envelope", s.EnvelopeDigest, c.Digest},
		{"nonce", s.Nonce, c.Nonce}, {"person", s.Person, p.name},
	} {
		if part.got != part.want || part.want == "" {
			return Vote{}, fmt.Errorf("%w: its %s is %q, not %q", ErrEvidence, part.name, part.got, part.want)
		}
	}
	signer, err := evidence.Check(statement, signature, p.keys)
	if err != nil {
		return Vote{}, fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	if err := p.concerned(c); err != nil {
		return Vote{}, err
	}
	if s.Decision == evidence.Approve {
		if b.takesHardware(c) && !signer.Verified {
			return Vote{}, fmt.Errorf("%w: a request of the %s tier is approved with a security key that asks for a PIN or a fingerprint "+
				"(ssh-keygen -t ed25519-sk -O verify-required)", ErrEvidence, c.Tier)
		}
		if err := p.eligible(c); err != nil {
			return Vote{}, err
		}
	}
	return Vote{Person: p.name, Decision: s.Decision, Comment: s.Comment, Statement: statement, Signature: signer.Armored}, nil
}

// takesHardware says whether a yes to c has to come from a security key.
func (b *Board) takesHardware(c Case) bool {
	return b.hardware != scopes.TierUnspecified && tierOf(c.Tier) >= b.hardware
}

// Concerned says whether who calls with a SPIFFE ID is in a group that c needs,
// and so may see it and reject it: nil, or an ErrNotEligible.
func (b *Board) Concerned(c Case, caller string) error {
	p := b.byID[caller]
	if p == nil {
		return fmt.Errorf("%w: %s is nobody who approves", ErrNotEligible, caller)
	}
	return p.concerned(c)
}

// Barred names the people of the needed groups who may not approve c, since they
// stand in the chain that asks. They may reject it.
func (b *Board) Barred(c Case) (names []string) {
	for _, p := range b.people {
		if p.concerned(c) == nil && p.eligible(c) != nil {
			names = append(names, p.name)
		}
	}
	return names
}

func (p *person) concerned(c Case) error {
	if !slices.ContainsFunc(c.Needs, func(n policy.Need) bool { return n.Group == policy.AnyGroup || slices.Contains(p.groups, n.Group) }) {
		return fmt.Errorf("%w: %s is in no group that this needs", ErrNotEligible, p.name)
	}
	return nil
}

// eligible says whether the person's yes counts for c.
func (p *person) eligible(c Case) error {
	if err := p.concerned(c); err != nil {
		return err
	}
	for _, link := range append(c.Identity[:len(c.Identity):len(c.Identity)], c.Claim) {
		if slices.Contains(p.ids, link) || p.isIn(wordsOf(link)) {
			return fmt.Errorf("%w: %s is in the chain that asks, and may reject this alone", ErrNotEligible, p.name)
		}
	}
	return nil
}

// Tally is evidence of how many people have approved one envelope. Only Count
// makes one; the zero Tally is of nobody.
type Tally struct {
	digest string
	counts map[string]int
}

// Counts are the distinct people of each group, and in policy.AnyGroup of all.
func (t Tally) Counts() map[string]int { return maps.Clone(t.counts) }

// Count verifies the votes on c again and counts the people who approve. What
// does not verify any more, because a person or key is no longer listed, counts
// as if it had not come. now is who asks now, beside who asked then.
func (b *Board) Count(c Case, votes []Vote, now ...string) Tally {
	c.Identity = slices.Concat(c.Identity, now)
	t := Tally{digest: c.Digest, counts: map[string]int{}}
	seen := map[string]bool{}
	for _, v := range votes {
		if seen[v.Person] || !b.Stands(c, v) || v.Decision != evidence.Approve {
			continue
		}
		seen[v.Person] = true
		t.counts[policy.AnyGroup]++
		for _, g := range b.named(v.Person).groups { // each of them once: add sees to that
			t.counts[g]++
		}
	}
	return t
}

// Stands says whether a vote that was kept still verifies as what it was.
func (b *Board) Stands(c Case, v Vote) bool {
	p := b.named(v.Person)
	if p == nil {
		return false
	}
	now, err := b.verify(c, p, v.Statement, v.Signature)
	return err == nil && now.Decision == v.Decision
}

// named is the person of a name; nil for nobody.
func (b *Board) named(name string) *person {
	at := slices.IndexFunc(b.people, func(p *person) bool { return p.name == name })
	if at < 0 {
		return nil
	}
	return b.people[at]
}

// Lacking is what of needs is not met by counts.
func Lacking(needs []policy.Need, t Tally) (out []policy.Need) {
	for _, n := range needs {
		if more := n.Approvals - t.counts[n.Group]; more > 0 {
			out = append(out, policy.Need{Group: n.Group, Approvals: more})
		}
	}
	return out
}

// Reachable says whether the people who may decide c, without some, could ever be
// enough: nil, or a NeededError. A request that nobody can approve must not wait
// for anybody. What the agent claims plays no part: the answer would tell it who
// approves.
func (b *Board) Reachable(c Case, without []string) error {
	c.Claim = ""
	counts := map[string]int{}
	for _, p := range b.people {
		if slices.Contains(without, p.name) || p.eligible(c) != nil || b.takesHardware(c) && !slices.ContainsFunc(p.keys, evidence.Hardware) {
			continue
		}
		counts[policy.AnyGroup]++
		for _, g := range p.groups {
			counts[g]++
		}
	}
	for _, n := range c.Needs {
		if counts[n.Group] < n.Approvals {
			return &NeededError{Needs: c.Needs, Why: "fewer people are listed who could approve it: tell the broker's operator"}
		}
	}
	return nil
}
