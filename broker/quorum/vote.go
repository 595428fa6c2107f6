package quorum

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes/plaintext"
	"github.com/valetkey/valetkey/scopes/tier"
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
	// Asked is when it was asked for, and Lapses, in whole seconds, when it ends unless
	// people approve it.
	Asked, Lapses time.Time
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
	// said is the statement, and groups are those of it that the person counts for still.
	// Filled by verify alone.
	said   evidence.Statement
	groups []string
}

// late says that a yes was signed when the request was over.
func (v Vote) late() bool {
	return v.Decision == evidence.Approve && !v.said.SignedAt.Before(v.said.LapsesAt)
}

// ClockLeeway is how far the clocks of a person and the broker may be apart.
const ClockLeeway = 30 * time.Second

// Judge verifies a statement and its signature on a case, sent now by who calls with
// the SPIFFE ID caller. The error wraps ErrEvidence or ErrNotEligible.
func (b *Directory) Judge(c Case, caller string, statement []byte, signature string, now time.Time) (Vote, error) {
	p := b.byID[caller]
	if p == nil {
		return Vote{}, fmt.Errorf("%w: %s is nobody who approves", ErrNotEligible, caller)
	}
	v, err := b.verify(c, p, statement, signature)
	asked := c.Asked
	if now.Before(asked) { // the broker's clock was ahead then
		asked = now
	}
	switch s := v.said; {
	case err != nil:
		return Vote{}, err
	case s.SignedAt.After(now.Add(ClockLeeway)) || s.SignedAt.Before(asked.Add(-ClockLeeway)):
		return Vote{}, fmt.Errorf("%w: it was signed at %v, and it is %v here: set the clocks, and sign again", ErrEvidence,
			s.SignedAt.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case v.late() && now.Before(c.Lapses): // from then on it is the broker's to say that the request is over
		return Vote{}, fmt.Errorf("%w: it was signed at %v, when the request is over: set your clock", ErrEvidence, s.SignedAt.Format(time.RFC3339))
	case s.Decision == evidence.Approve && !slices.Equal(s.Groups, p.countsFor(c)):
		return Vote{}, fmt.Errorf("%w: it is signed for the groups %q, and counts for %q", ErrEvidence, s.Groups, p.countsFor(c))
	}
	// What is on the record already stays what it was.
	if err := plaintext.Prose(v.Comment); err != nil {
		return Vote{}, fmt.Errorf("%w: its comment has %w", ErrEvidence, err)
	}
	return v, nil
}

func (b *Directory) verify(c Case, p *person, statement []byte, signature string) (Vote, error) {
	s, err := evidence.Parse(statement)
	if err != nil {
		return Vote{}, fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	for _, part := range []struct{ name, got, want string }{
		{"broker", s.Broker, b.broker}, {"grant", s.Grant, c.Grant}, {"envelope", s.EnvelopeDigest, c.Digest},
		{"nonce", s.Nonce, c.Nonce}, {"person", s.Person, p.name}, {"lapse", s.LapsesAt.String(), c.Lapses.UTC().String()},
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
	return Vote{
		Person: p.name, Decision: s.Decision, Comment: s.Comment, Statement: statement, Signature: signer.Armored,
		said:   s,
		groups: slices.DeleteFunc(slices.Clone(s.Groups), func(g string) bool { return !slices.Contains(p.countsFor(c), g) }),
	}, nil
}

// takesHardware says whether a yes to c has to come from a security key.
func (b *Directory) takesHardware(c Case) bool {
	return b.hardware != tier.None && tier.Parse(c.Tier).OrAdmin() >= b.hardware
}

// Concerned says whether who calls with a SPIFFE ID is in a group that c needs,
// and so may see it and reject it: nil, or an ErrNotEligible.
func (b *Directory) Concerned(c Case, caller string) error {
	p := b.byID[caller]
	if p == nil {
		return fmt.Errorf("%w: %s is nobody who approves", ErrNotEligible, caller)
	}
	return p.concerned(c)
}

// Barred names the people of the needed groups who may not approve c, since they
// stand in the chain that asks, by what was verified of it. They may reject it.
func (b *Directory) Barred(c Case) (names []string) {
	for _, p := range b.people {
		if p.concerned(c) == nil && p.eligible(c) != nil {
			names = append(names, p.name)
		}
	}
	return names
}

// Named are the people who could approve c, but that the agent says it acts for them.
// Whether it does, nobody knows. So their yes counts for no group: who gains is no
// judge. And it is needed all the same, as if policy had asked for it: else an agent
// could choose who is left to approve, by naming those whom it would rather not ask.
func (b *Directory) Named(c Case) (names []string) {
	for _, p := range b.people {
		if p.eligible(c) == nil && p.named(c) {
			names = append(names, p.name)
		}
	}
	return names
}

// CountsFor are the groups that an approval of c counts for, by who calls with a SPIFFE
// ID; none of who is named in it, and of those who may not approve.
func (b *Directory) CountsFor(c Case, caller string) []string {
	p := b.byID[caller]
	if p == nil || p.eligible(c) != nil {
		return nil
	}
	return p.countsFor(c)
}

func (p *person) countsFor(c Case) (groups []string) {
	if p.named(c) {
		return nil
	}
	for _, n := range c.Needs {
		if n.Group == policy.AnyGroup || slices.Contains(p.groups, n.Group) {
			groups = append(groups, n.Group)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

func (p *person) concerned(c Case) error {
	if !slices.ContainsFunc(c.Needs, func(n policy.Need) bool { return n.Group == policy.AnyGroup || slices.Contains(p.groups, n.Group) }) {
		return fmt.Errorf("%w: %s is in no group that this needs", ErrNotEligible, p.name)
	}
	return nil
}

// eligible says whether the person may approve c.
func (p *person) eligible(c Case) error {
	if err := p.concerned(c); err != nil {
		return err
	}
	if slices.ContainsFunc(c.Identity, p.goesBy) {
		return fmt.Errorf("%w: %s is in the chain that asks, and may reject this alone", ErrNotEligible, p.name)
	}
	return nil
}

// named says whether the agent says that it acts for the person.
func (p *person) named(c Case) bool { return p.goesBy(c.Claim) }

// goesBy says whether a text is an ID of the person's, or holds a name of theirs.
func (p *person) goesBy(text string) bool {
	return slices.Contains(p.ids, text) || p.isIn(wordsOf(text))
}

// Tally is evidence of how many people have approved one envelope. Only Count
// makes one; the zero Tally is of nobody.
type Tally struct {
	digest string
	counts map[string]int
	// unheard is how many of those whom the agent names have not said yes.
	unheard int
}

// Counts are the distinct people of each needed group, and in policy.AnyGroup of all
// whose yes counts.
func (t Tally) Counts() map[string]int { return maps.Clone(t.counts) }

// Count verifies the votes on c again and counts the people who approve. What
// does not verify any more, because a person or key is no longer listed, counts
// as if it had not come. now is who asks now, beside who asked then.
func (b *Directory) Count(c Case, votes []Vote, now ...string) Tally {
	c.Identity = slices.Concat(c.Identity, now)
	t := Tally{digest: c.Digest, counts: map[string]int{}}
	said := map[string]bool{}
	for _, kept := range votes {
		v, stands := b.stands(c, kept)
		if said[v.Person] || !stands || v.Decision != evidence.Approve {
			continue
		}
		said[v.Person] = true
		for i, g := range v.groups { // each of them once: Parse sees to that
			if i == 0 {
				t.counts[policy.AnyGroup]++
			}
			if g != policy.AnyGroup {
				t.counts[g]++
			}
		}
	}
	for _, name := range b.Named(c) {
		if !said[name] {
			t.unheard++
		}
	}
	return t
}

// Stands says whether a vote that was kept still verifies as what it was.
func (b *Directory) Stands(c Case, v Vote) bool {
	_, stands := b.stands(c, v)
	return stands
}

func (b *Directory) stands(c Case, v Vote) (now Vote, stands bool) {
	p := b.person(v.Person)
	if p == nil {
		return Vote{}, false
	}
	now, err := b.verify(c, p, v.Statement, v.Signature)
	return now, err == nil && now.Decision == v.Decision && !now.late()
}

// person is the one of a name; nil for nobody.
func (b *Directory) person(name string) *person {
	at := slices.IndexFunc(b.people, func(p *person) bool { return p.name == name })
	if at < 0 {
		return nil
	}
	return b.people[at]
}

// Lacking is what of needs is not met by t. Whom the agent names and who has not said
// yes is one more person, of no group that is told.
func Lacking(needs []policy.Need, t Tally) (out []policy.Need) {
	lack := map[string]int{}
	for _, n := range needs {
		lack[n.Group] = max(lack[n.Group], max(n.Approvals, 1)-t.counts[n.Group]) // no need is of nobody
	}
	lack[policy.AnyGroup] += t.unheard
	for _, group := range slices.Sorted(maps.Keys(lack)) {
		if lack[group] > 0 {
			out = append(out, policy.Need{Group: group, Approvals: lack[group]})
		}
	}
	return out
}

// Reachable says whether the people who may decide c, without some, could ever be
// enough: nil, or a NeededError. A request that nobody can approve must not wait
// for anybody. Whom the agent names plays no part: the answer would tell it who
// approves.
func (b *Directory) Reachable(c Case, without []string) error {
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
