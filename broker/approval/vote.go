package approval

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/policy"
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
	// Chain names who asks: the agent, who speaks for it, the parts of its path, and
	// on whose behalf it says it acts.
	Chain []string
}

// ChainOf is the chain that leads to who asks d.
func ChainOf(d policy.Decision) []string {
	a := d.Agent()
	chain := []string{a.ID().String()}
	if del := a.Delegate(); !del.IsZero() {
		chain = append(chain, del.String())
	}
	chain = slices.AppendSeq(chain, maps.Values(a.Attributes()))
	if on := d.Task().OnBehalfOf; on != "" {
		chain = append(chain, on)
	}
	slices.Sort(chain)
	return slices.Compact(chain)
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
	if s.Decision == evidence.Approve && slices.Contains(b.hardware, c.Tier) && !signer.Verified {
		return Vote{}, fmt.Errorf("%w: a request of the %s tier is approved with a security key that asks for a PIN or a fingerprint "+
			"(ssh-keygen -t ed25519-sk -O verify-required)", ErrEvidence, c.Tier)
	}
	if err := p.eligible(c); err != nil {
		return Vote{}, err
	}
	return Vote{Person: p.name, Decision: s.Decision, Comment: s.Comment, Statement: statement, Signature: signer.Armored}, nil
}

// Eligible says whether who calls with a SPIFFE ID may decide c: nil, or an
// ErrNotEligible that says why not.
func (b *Board) Eligible(c Case, caller string) error {
	p := b.byID[caller]
	if p == nil {
		return fmt.Errorf("%w: %s is nobody who approves", ErrNotEligible, caller)
	}
	return p.eligible(c)
}

func (p *person) eligible(c Case) error {
	if slices.ContainsFunc(c.Chain, p.isNamedIn) {
		return fmt.Errorf("%w: %s is in the chain that asks", ErrNotEligible, p.name)
	}
	if !slices.ContainsFunc(c.Needs, func(n policy.Need) bool { return p.in(n.Group) }) {
		return fmt.Errorf("%w: %s is in no group that this needs", ErrNotEligible, p.name)
	}
	return nil
}

func (p *person) in(group string) bool {
	return group == policy.AnyGroup || slices.Contains(p.groups, group)
}

// isNamedIn looks for the person in free text, as "Alice <alice@example.com>":
// what an agent says may leave somebody out by mistake, and lets nobody in.
func (p *person) isNamedIn(text string) bool {
	text = strings.ToLower(text)
	words := append(strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._@+-", r)
	}), text)
	for _, word := range words {
		local, _, _ := strings.Cut(word, "@")
		for _, name := range p.names {
			if word == name || local == name || local != "" && strings.HasPrefix(name, local+"@") {
				return true
			}
		}
	}
	return false
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
// as if it had not come. chain is of who asks now, beside who asked then.
func (b *Board) Count(c Case, votes []Vote, chain []string) Tally {
	c.Chain = slices.Concat(c.Chain, chain)
	t := Tally{digest: c.Digest, counts: map[string]int{}}
	seen := map[string]bool{}
	for _, v := range votes {
		at := slices.IndexFunc(b.people, func(p *person) bool { return p.name == v.Person })
		if at < 0 || seen[v.Person] {
			continue
		}
		p := b.people[at]
		now, err := b.verify(c, p, v.Statement, v.Signature)
		if err != nil || now.Decision != evidence.Approve {
			continue
		}
		seen[v.Person] = true
		t.counts[policy.AnyGroup]++
		for _, g := range p.groups {
			t.counts[g]++
		}
	}
	return t
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

// Reachable says whether the people who may decide c could ever be enough: nil,
// or a NeededError that says who is missing. A request that nobody can approve
// must not wait for anybody.
func (b *Board) Reachable(c Case) error {
	counts := map[string]int{}
	for _, p := range b.people {
		if p.eligible(c) != nil {
			continue
		}
		counts[policy.AnyGroup]++
		for _, g := range p.groups {
			counts[g]++
		}
	}
	for _, n := range c.Needs {
		if counts[n.Group] < n.Approvals {
			return &NeededError{Needs: c.Needs, Why: fmt.Sprintf("%d of group %s could approve it here, and %d have to: the broker's operator must list more people",
				counts[n.Group], n.Group, n.Approvals)}
		}
	}
	return nil
}
