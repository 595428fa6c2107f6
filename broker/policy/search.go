package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// defaultDeny is the reason where no policy permits.
const defaultDeny = "no policy permits this request"

// search finds a verdict by asking the engine, first as things are, then with what people could still say.
type search struct {
	set   *set
	facts *facts
}

// ruling is one answer of the engine, with the policies that made it in order of id.
type ruling struct {
	allow    bool
	policies []*policy
}

// ask is the only call of the engine. An error in any policy is an error of the whole: Cedar would skip the policy.
func (s *search) ask(approvals map[string]int, seconds int64) (ruling, error) {
	decision, diag := cedar.Authorize(s.set, s.facts, s.facts.request(approvals, seconds))
	for _, e := range diag.Errors {
		return ruling{}, fmt.Errorf("evaluating policy %q: %s", e.PolicyID, e.Message)
	}
	r := ruling{allow: decision == cedar.Allow}
	for _, reason := range diag.Reasons {
		r.policies = append(r.policies, s.set.find(reason.PolicyID))
	}
	return r, nil
}

func (s *search) verdict() (Verdict, error) {
	lives := s.lives()
	asIs, err := s.ask(s.facts.approvals, lives[0])
	if err != nil {
		return Verdict{}, err
	}
	if asIs.allow {
		return s.conclude(Allow, lives[0], nil, asIs), nil
	}
	// Law 4: what the shortest life with every approval cannot have, nothing can.
	all := s.everyone()
	best, err := s.ask(all, lives[len(lives)-1])
	if err != nil {
		return Verdict{}, err
	}
	if !best.allow {
		return s.conclude(Deny, 0, nil, best), nil
	}
	for _, life := range lives[1:] {
		r, err := s.ask(s.facts.approvals, life)
		if err != nil {
			return Verdict{}, err
		}
		if r.allow {
			return s.conclude(Allow, life, nil, r, asIs), nil
		}
	}
	return s.needs(lives, all)
}

// needs finds the longest life that approvals can bring, and the fewest people who bring it.
func (s *search) needs(lives []int64, all map[string]int) (Verdict, error) {
	var why []ruling // what stood in the way of longer lives
	for _, life := range lives {
		r, err := s.ask(all, life)
		if err != nil {
			return Verdict{}, err
		}
		if !r.allow {
			why = append(why, r)
			continue
		}
		now, err := s.ask(s.facts.approvals, life)
		if err != nil {
			return Verdict{}, err
		}
		for _, lack := range s.lacks() {
			r, err := s.ask(s.with(lack), life)
			if err != nil {
				return Verdict{}, err
			}
			if !r.allow {
				continue
			}
			if len(now.policies) == 0 { // nothing forbids: say which permit waits
				now = r
			}
			return s.conclude(NeedsApproval, life, s.needOf(lack), append(why, now)...), nil
		}
	}
	return Verdict{}, fmt.Errorf("no set of approvals is enough, though all together are")
}

// lives are the lives to try, in seconds, longest first: the one asked for, and the limits below it that policies name.
func (s *search) lives() []int64 {
	asked := int64((s.facts.ttl + time.Second - 1) / time.Second) // up: half a second over a limit is over it
	out := []int64{asked}
	for _, ttl := range slices.Backward(s.set.ttls) {
		if ttl < asked && ttl > 0 {
			out = append(out, ttl)
		}
	}
	return out
}

// lacks are the additions to the approvals that policies can tell apart, one number per group of the set. Fewest
// people first, counted as if nobody were in two groups; then the fewest who have to be of a certain group.
func (s *search) lacks() [][]int {
	out := [][]int{nil}
	for i, group := range s.set.groups {
		var longer [][]int
		for _, prefix := range out {
			longer = append(longer, append(slices.Clone(prefix), 0))
			for _, t := range s.set.thresholds[i] {
				if more := t - s.facts.approvals[group]; more > 0 {
					longer = append(longer, append(slices.Clone(prefix), more))
				}
			}
		}
		out = longer
	}
	slices.SortStableFunc(out, func(a, b []int) int {
		anyA, sumA := s.people(a)
		anyB, sumB := s.people(b)
		return cmp.Or(cmp.Compare(max(anyA, sumA), max(anyB, sumB)), cmp.Compare(sumA, sumB), slices.Compare(a, b))
	})
	return out
}

// people is how many a lack asks for of AnyGroup, and of all other groups together.
func (s *search) people(lack []int) (anyone, sum int) {
	for i, n := range lack {
		if s.set.groups[i] == AnyGroup {
			anyone = n
		} else {
			sum += n
		}
	}
	return anyone, sum
}

// with adds a lack to the approvals. Who is new to a group is a new person (a person's yes counts in all their groups
// at once), so there are at least as many more people as the largest addition.
func (s *search) with(lack []int) map[string]int {
	out := maps.Clone(s.facts.approvals)
	most := 0
	for i, n := range lack {
		out[s.set.groups[i]] += n
		most = max(most, n)
	}
	out[AnyGroup] = s.facts.approvals[AnyGroup] + most
	return out
}

// everyone is every approval that some policy could wish for.
func (s *search) everyone() map[string]int {
	lack := make([]int, len(s.set.groups))
	for i, group := range s.set.groups {
		t := s.set.thresholds[i]
		lack[i] = max(0, t[len(t)-1]-s.facts.approvals[group])
	}
	return s.with(lack)
}

// needOf leaves out what is met already. AnyGroup comes up only where the other groups bring fewer people: a lack with
// a smaller count for it gives the same approvals, and lacks has that one first.
func (s *search) needOf(lack []int) []Need {
	var out []Need
	for i, n := range lack {
		if n > 0 {
			out = append(out, Need{Group: s.set.groups[i], Approvals: n})
		}
	}
	return out
}

// conclude writes a verdict with the policies of all rulings that explain it.
func (s *search) conclude(outcome Outcome, seconds int64, needs []Need, because ...ruling) Verdict {
	v := Verdict{Outcome: outcome, Needs: needs, TTL: min(s.facts.ttl, time.Duration(seconds)*time.Second)}
	reasons := map[string]string{}
	for _, r := range because {
		for _, p := range r.policies {
			reasons[string(p.id)] = p.text()
		}
	}
	v.PolicyIDs = slices.Sorted(maps.Keys(reasons))
	for _, id := range v.PolicyIDs {
		v.Reasons = append(v.Reasons, reasons[id])
	}
	if len(v.PolicyIDs) == 0 {
		v.Reasons = []string{defaultDeny}
	}
	return v
}
