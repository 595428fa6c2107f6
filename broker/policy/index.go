package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// maxSearch bounds how many combinations of approvals a scope's policies may set apart, and so what the answer to
// "what would it need" can cost: some milliseconds.
const maxSearch = 4096

// set is the policies that can apply to one scope, sorted by id, and the values their answers can change at.
type set struct {
	policies []*policy
	// groups, sorted, and for each its thresholds, ascending.
	groups     []string
	thresholds [][]int
	// ttls are the lives, in seconds, that some policy has as its limit, ascending.
	ttls []int64
}

// All yields the policies in order of id: cedar.PolicyIterator.
func (s *set) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range s.policies {
			if !yield(p.id, p.cedar) {
				return
			}
		}
	}
}

// find returns the policy of an id that the set yielded.
func (s *set) find(id cedar.PolicyID) *policy {
	i, found := slices.BinarySearchFunc(s.policies, id, func(p *policy, id cedar.PolicyID) int {
		return strings.Compare(string(p.id), string(id))
	})
	if !found {
		return nil
	}
	return s.policies[i]
}

func newSet(policies []*policy) *set {
	s := &set{policies: slices.Clone(policies)}
	slices.SortFunc(s.policies, func(a, b *policy) int { return strings.Compare(string(a.id), string(b.id)) })
	merged := map[string][]int{}
	for _, p := range s.policies {
		for group, counts := range p.demands.approvals {
			for _, n := range counts {
				merged[group] = insert(merged[group], n)
			}
		}
		for _, ttl := range p.demands.ttls {
			s.ttls = insert(s.ttls, ttl)
		}
	}
	s.groups = slices.Sorted(maps.Keys(merged))
	for _, group := range s.groups {
		s.thresholds = append(s.thresholds, merged[group])
	}
	return s
}

// combinations is how many sets of approvals the policies can tell apart, at most.
func (s *set) combinations() int {
	n := 1
	for _, t := range s.thresholds {
		if n *= 1 + len(t); n > maxSearch {
			return n
		}
	}
	return n
}

// index gives each scope the policies that can apply to it, so that the others cost nothing.
func index(policies map[cedar.PolicyID]*policy, scopes []string) (map[string]*set, error) {
	lists := make(map[string][]*policy, len(scopes))
	for _, p := range policies {
		names := p.scopes
		if names == nil {
			names = scopes
		}
		for _, name := range names {
			lists[name] = append(lists[name], p)
		}
	}
	sets := make(map[string]*set, len(scopes))
	for _, name := range scopes {
		s := newSet(lists[name])
		if s.combinations() > maxSearch {
			return nil, fmt.Errorf("scope %q: its policies set more than %d combinations of approvals apart; use fewer groups or numbers",
				name, maxSearch)
		}
		sets[name] = s
	}
	return sets, nil
}
