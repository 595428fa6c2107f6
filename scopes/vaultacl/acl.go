package vaultacl

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ACL is what a token with some policies may do: the policies merged and indexed as Vault does it. It is safe for
// concurrent use.
type ACL struct {
	exact    map[string]*merged
	prefix   map[string]*merged // by the path without its "*"
	segments []*merged          // those with a "+"; sorted by falling priority
	bySegs   map[string]*merged
}

// merged is what all rules for one path amount to.
type merged struct {
	path     string // as written, with its "*"
	refs     []Ref
	caps     caps
	allowed  map[string][]any
	denied   map[string][]any
	required []string // lower-case: Vault looks for that key and no other
	minWrap  time.Duration
	maxWrap  time.Duration
	mfa      []string
	pattern  pattern
}

// Ref names a rule of a policy.
type Ref struct {
	Policy string `json:"policy"` // its Name, or "policy[i]" if it has none
	Index  int    `json:"index"`  // among the policy's paths, from 0
	Path   string `json:"path"`
	Line   int    `json:"line,omitempty"`
}

// Compile merges policies. Those with templates should be filled first: a template that is left matches itself alone.
func Compile(policies []Policy) *ACL {
	a := &ACL{exact: map[string]*merged{}, prefix: map[string]*merged{}, bySegs: map[string]*merged{}}
	for i, p := range policies {
		for j, r := range p.Paths {
			if !r.absent {
				a.add(r, p.ref(i, j))
			}
		}
	}
	slices.SortFunc(a.segments, func(x, y *merged) int { return x.pattern.compare(y.pattern) })
	return a
}

// String is the rule's place: "app.hcl:12".
func (r Ref) String() string { return fmt.Sprintf("%s:%d", r.Policy, r.Line) }

// ref names rule j of the policy, which is the i-th of its set.
func (p Policy) ref(i, j int) Ref {
	r := &p.Paths[j]
	name := p.Name
	if name == "" {
		name = fmt.Sprintf("policy[%d]", i)
	}
	return Ref{Policy: name, Index: j, Path: cmp.Or(r.source, r.Path), Line: r.Pos.Line}
}

func (a *ACL) add(r PathRule, ref Ref) {
	pat := parsePattern(r.Path)
	index, key := a.exact, r.Path
	switch {
	case pat.wild:
		index = a.bySegs
	case pat.glob:
		index, key = a.prefix, pat.text
	}
	old, ok := index[key]
	if !ok {
		m := &merged{path: r.Path, pattern: pat, caps: capSet(r.Capabilities), refs: []Ref{ref}}
		index[key] = m
		if pat.wild {
			a.segments = append(a.segments, m)
		}
		m.constrain(r)
		return
	}
	old.merge(r, ref)
}

// constrain takes the first rule's limits.
func (m *merged) constrain(r PathRule) {
	if m.caps&capDeny != 0 {
		return
	}
	m.minWrap, m.maxWrap, m.mfa = r.MinWrap, r.MaxWrap, slices.Clone(r.MFAMethods)
	m.allowed, m.denied = cloneValues(r.Allowed), cloneValues(r.Denied)
	m.require(r.Required)
}

// merge adds a rule for the same path. Deny wins; capabilities are united; and limits are kept from either side, so that
// a rule without limits does not lift those of the other.
func (m *merged) merge(r PathRule, ref Ref) {
	c := capSet(r.Capabilities)
	switch {
	case m.caps&capDeny != 0:
		if c&capDeny != 0 {
			m.refs = append(m.refs, ref)
		}
		return
	case c&capDeny != 0:
		*m = merged{path: m.path, pattern: m.pattern, caps: capDeny, refs: []Ref{ref}}
		return
	}
	m.caps |= c
	m.refs = append(m.refs, ref)
	if r.MaxWrap > 0 && (m.maxWrap == 0 || r.MaxWrap < m.maxWrap) {
		m.maxWrap = r.MaxWrap
	}
	// The lesser minimum, too: Vault prefers short lives.
	if r.MinWrap > 0 && (m.minWrap == 0 || r.MinWrap < m.minWrap) {
		m.minWrap = r.MinWrap
	}
	m.allowed = mergeValues(m.allowed, r.Allowed)
	m.denied = mergeValues(m.denied, r.Denied)
	m.require(r.Required)
	m.mfa = append(m.mfa, r.MFAMethods...)
}

func (m *merged) require(names []string) {
	for _, n := range names {
		if n = strings.ToLower(n); !slices.Contains(m.required, n) {
			m.required = append(m.required, n)
		}
	}
	slices.Sort(m.required)
}

func cloneValues(in map[string][]any) map[string][]any {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string][]any, len(in))
	for k, v := range in {
		out[strings.ToLower(k)] = slices.Clone(v)
	}
	return out
}

// mergeValues unites two sets of values; no values means all of them.
func mergeValues(into, from map[string][]any) map[string][]any {
	if len(into) == 0 {
		return cloneValues(from)
	}
	for _, k := range slices.Sorted(maps.Keys(from)) {
		values, name := from[k], strings.ToLower(k)
		have, ok := into[name]
		if len(values) == 0 || (ok && len(have) == 0) {
			into[name] = nil
			continue
		}
		for _, v := range values {
			if !slices.Contains(have, v) {
				have = append(have, v)
			}
		}
		into[name] = have
	}
	return into
}

// decide returns what decides about a path, or nil, as AllowOperation does. A list looks for the path without its
// trailing slash too.
func (a *ACL) decide(list bool, path string) *merged {
	path = strings.TrimLeft(path, "/")
	if m, ok := a.exact[path]; ok {
		return m
	}
	trimmed := strings.TrimSuffix(path, "/")
	if list {
		if m, ok := a.exact[trimmed]; ok {
			return m
		}
		if trimmed != path {
			if m := a.inexact(trimmed); m != nil {
				return m
			}
		}
	}
	return a.inexact(path)
}

// inexact returns the rule with a wildcard that has priority among those that match.
func (a *ACL) inexact(path string) *merged {
	var best *merged
	if len(a.prefix) > 0 {
		for n := len(path); n >= 0 && best == nil; n-- {
			best = a.prefix[path[:n]]
		}
	}
	for _, m := range a.segments {
		if best != nil && best.pattern.compare(m.pattern) < 0 {
			break
		}
		if m.pattern.match(path) {
			return m
		}
	}
	return best
}
