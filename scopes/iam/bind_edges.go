package iam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// pair is a list of actions, all of them granted on the same list of resources.
type pair struct{ actions, resources []string } // each sorted, without repeats

// granted returns what the Allows name together, an action in one pair alone: actions with equal lists of resources are
// one pair, and so are actions that overlap as patterns, whose Denies would otherwise take each other's grants. A
// complement in an Allow has no such lists, and no scope compiles to one. The lists may be the policy's own.
func granted(p *Policy) ([]pair, error) {
	out := make([]pair, 0, len(p.Statements))
	for i := range p.Statements {
		s := &p.Statements[i]
		if s.Effect != Allow {
			continue
		}
		if len(s.NotAction) > 0 || len(s.NotResource) > 0 {
			return nil, fmt.Errorf("%w: an Allow with NotAction or NotResource", ErrPolicy)
		}
		next := pair{inOrder(s.Action), inOrder(s.Resource)}
		at := slices.IndexFunc(out, func(have pair) bool { return slices.Equal(have.resources, next.resources) })
		if at < 0 {
			out = append(out, next)
		} else {
			out[at].actions = union(out[at].actions, next.actions)
		}
	}
	if !disjoint(out) {
		out = joined(out)
	}
	slices.SortFunc(out, func(a, b pair) int { return slices.Compare(a.actions, b.actions) })
	return out, nil
}

// disjoint tells whether no action of one pair is in another.
func disjoint(pairs []pair) bool {
	for i := range pairs {
		for j := range i {
			if overlap(pairs[j].actions, pairs[i].actions) {
				return false
			}
		}
	}
	return true
}

// joined is granted where actions of one pair overlap with those of another: action by action, in order.
func joined(pairs []pair) []pair {
	on := map[string][]string{} // by action
	for _, p := range pairs {
		for _, a := range p.actions {
			on[a] = union(on[a], p.resources)
		}
	}
	var out []pair
	for _, a := range sortedKeys(on) {
		next := pair{[]string{a}, on[a]}
		for i := 0; i < len(out); {
			if !slices.Equal(out[i].resources, next.resources) && !overlap(out[i].actions, next.actions) {
				i++
				continue
			}
			next = pair{union(out[i].actions, next.actions), union(out[i].resources, next.resources)}
			out = slices.Delete(out, i, i+1)
			i = 0 // with more resources it may equal one before
		}
		out = append(out, next)
	}
	return out
}

// overlap tells whether some action can be in both lists.
func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if meet(x, y) {
				return true
			}
		}
	}
	return false
}

// meet tells whether some action can match both patterns of actions. Nearly all differ before any wildcard.
func meet(x, y string) bool {
	n := 0
	for ; n < len(x) && n < len(y); n++ {
		if strings.IndexByte("*?", x[n]) >= 0 || strings.IndexByte("*?", y[n]) >= 0 {
			return glob.Overlap(glob.Wild(strings.ToLower(x[n:])), glob.Wild(strings.ToLower(y[n:])))
		}
		if lower(x[n]) != lower(y[n]) {
			return false
		}
	}
	return strings.Trim(x[n:], "*") == "" && strings.Trim(y[n:], "*") == ""
}

// lower is a letter of ASCII in lower case, and any other byte.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// edges appends the Denies of what lies outside of the pairs:
//
//   - every other action, on everything. Where a server has no NotAction, that is every action on what no pair names,
//     each other action of S3's on the rest, by the shortest beginnings, and each of its other namespaces;
//   - each pair's actions, on other resources than its own.
func edges(out []Statement, pairs []pair, d Dialect) []Statement {
	srv, all := d.server(), actionsOf(pairs)
	deny := func(s Statement) {
		s.Effect = Deny
		out = append(out, s)
	}
	complement := srv == nil || srv.notAction
	if complement && !slices.Contains(all, "*") {
		deny(Statement{NotAction: all, Resource: everything})
	}
	if whole := resourcesOf(pairs); (len(pairs) == 1 || !complement) && !slices.Contains(whole, "*") {
		deny(Statement{Action: []string{srv.everything()}, NotResource: whole})
	}
	for _, p := range pairs {
		if len(pairs) > 1 && !slices.Contains(p.resources, "*") {
			deny(Statement{Action: p.actions, NotResource: p.resources})
		}
	}
	if complement {
		return out
	}
	others := srv.others(d, all)
	if srv.mixes {
		others = append(others, srv.spaces...)
	}
	if len(others) > 0 {
		deny(Statement{Action: others, Resource: everything})
	}
	if srv.mixes {
		return out
	}
	for _, space := range srv.spaces {
		deny(Statement{Action: []string{space}, Resource: everything})
	}
	return out
}

// others returns patterns that take every action of the server but those granted: none where a resource policy cannot
// give a session anything anyhow. They are the words that most of those actions have and none of the granted, and for the
// rest the shortest beginnings.
func (srv *server) others(d Dialect, granted []string) []string {
	if !srv.resourcePolicies {
		return nil
	}
	var in, out []string
	for _, a := range d.Actions() {
		if overlap([]string{a}, granted) {
			in = append(in, a)
		} else {
			out = append(out, a)
		}
	}
	within := func(list []string, word string) int {
		n := 0
		for _, a := range list {
			if strings.Contains(a, word) {
				n++
			}
		}
		return n
	}
	words := wordsOf(out)
	if srv.odd {
		words = nil // they have a "*" before them
	}
	words = slices.DeleteFunc(words, func(w string) bool {
		return within(in, w) > 0 || slices.ContainsFunc(d.Actions(), func(a string) bool { // one reading, whether case counts or not
			return strings.Contains(strings.ToLower(a), strings.ToLower(w)) != strings.Contains(a, w)
		})
	})
	var patterns []string
	for {
		best, most := "", 1
		for _, w := range words {
			if n := within(out, w); n > most {
				best, most = w, n
			}
		}
		if best == "" {
			break
		}
		patterns = append(patterns, "s3:*"+best+"*")
		out = slices.DeleteFunc(out, func(a string) bool { return strings.Contains(a, best) })
	}
	for _, a := range out {
		p := a // the whole name, where a granted one begins with it
		for n := len("s3:") + 1; n < len(a); n++ {
			if within(in, a[:n]) == 0 {
				p = a[:n] + "*"
				break
			}
		}
		patterns = append(patterns, p)
	}
	return union(patterns, nil)
}

// wordsOf are the words of actions, "Get", "Object" and "Version" of "s3:GetObjectVersion"; sorted.
func wordsOf(list []string) []string {
	var out []string
	for _, a := range list {
		from := len("s3:")
		for i := from + 1; i <= len(a); i++ {
			if i == len(a) || 'A' <= a[i] && a[i] <= 'Z' {
				out = append(out, a[from:i])
				from = i
			}
		}
	}
	return union(out, nil)
}
