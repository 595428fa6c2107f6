package scopes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Marks of the holes in a path, which no path has.
const (
	segmentHole = "\x00" // a value without slashes
	anyHole     = "\x01" // a value that may have some
)

// widestPaths returns Vault paths that take all that the template can become. Vault has a wildcard for a whole segment
// and one for the rest of a path, so a hole in a part of a segment widens to the segment, or at the path's end to all
// that begins as the segment does.
func (t template) widestPaths(params map[string]param) []string {
	values, _ := t.choices(params, func(p param) []string {
		if p.slashes() {
			return []string{anyHole}
		}
		return []string{segmentHole}
	})
	texts, err := t.render(values)
	if err != nil {
		texts = []string{anyHole} // choices keeps below the one limit that there is
	}
	for i, text := range texts {
		texts[i] = widestPath(text)
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func widestPath(text string) string {
	segments := strings.Split(text, "/")
	for i, s := range segments {
		hole := strings.IndexAny(s, segmentHole+anyHole)
		switch {
		case hole < 0:
		case strings.Contains(s, anyHole), i == len(segments)-1 && (hole > 0 || strings.HasSuffix(s, "*")):
			segments[i] = s[:hole] + "*"
			return strings.Join(segments[:i+1], "/")
		default:
			segments[i] = "+"
		}
	}
	return strings.Join(segments, "/")
}

// widestVault is the scope's Vault policy at its widest parameters. In Vault the most specific path alone decides. So
// that the policy covers each of the scope's rules, a path has the capabilities of the wider ones that it would hide.
func (s *Scope) widestVault() ([]vaultacl.Rule, error) {
	sources := s.paths
	if s.read != nil {
		sources = []vaultPath{{path: s.read, capabilities: []string{"read"}}}
	}
	caps := map[string][]string{}
	var single []vaultacl.Rule
	for _, p := range sources {
		for _, path := range p.path.widestPaths(s.compiled) {
			caps[path] = append(caps[path], p.capabilities...)
			single = append(single, vaultacl.Rule{Path: path, Capabilities: p.capabilities})
		}
	}
	all := func() []vaultacl.Policy {
		var rules []vaultacl.Rule
		for path, c := range caps {
			rules = append(rules, vaultacl.Rule{Path: path, Capabilities: c})
		}
		return []vaultacl.Policy{vaultacl.FromRules("ceiling", vaultacl.Canonical(rules))}
	}
	for range len(single) * len(single) {
		whole, ok := all(), true
		for _, r := range single {
			c := vaultacl.Covers(whole, []vaultacl.Policy{vaultacl.FromRules("rule", []vaultacl.Rule{r})})
			if c.Answer == vaultacl.Yes {
				continue
			}
			if c.Witness == nil {
				return nil, fmt.Errorf("widening path %q: %s", r.Path, c.Why)
			}
			ok = false
			by := decides(whole, *c.Witness)
			if by == "" {
				return nil, fmt.Errorf("widening path %q: nothing decides about %s", r.Path, c.Witness)
			}
			caps[by] = append(caps[by], r.Capabilities...)
			break
		}
		if ok {
			var rules []vaultacl.Rule
			for path, c := range caps {
				rules = append(rules, vaultacl.Rule{Path: path, Capabilities: c})
			}
			rules = vaultacl.Canonical(rules)
			return rules, vaultacl.Validate(rules)
		}
	}
	return nil, fmt.Errorf("widening %d paths: they hide each other in too many ways", len(single))
}

// decides returns the path of the policies that decides about a request; empty where none does.
func decides(policies []vaultacl.Policy, r vaultacl.Request) string {
	acl := vaultacl.Compile(policies)
	if r.Operation == vaultacl.OpList {
		m, ok := acl.ListMatch(r.Path)
		if !ok {
			return ""
		}
		return m.Path
	}
	if m := acl.Matches(r.Path); len(m) > 0 {
		return m[0].Path
	}
	return ""
}
