package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parts measures the elements of every statement, the dearest first.
func parts(p Policy) []Part {
	out := []Part{}
	for i, s := range p.Statements {
		add := func(name string, values int, without func(*Statement)) {
			if values == 0 {
				return
			}
			c := p.Clone()
			without(&c.Statements[i])
			out = append(out, Part{i, name, textLength(p) - textLength(c), values})
		}
		for _, e := range elements {
			add(e.name, len(*e.list(&s)), func(s *Statement) { *e.list(s) = nil })
		}
		n := 0
		for _, keys := range s.Condition {
			for _, vs := range keys {
				n += len(vs)
			}
		}
		add("Condition", n, func(s *Statement) { s.Condition = nil })
		add("Sid", min(1, len(s.Sid)), func(s *Statement) { s.Sid = "" })
	}
	slices.SortStableFunc(out, func(a, b Part) int { return b.Characters - a.Characters })
	return out
}

// tagVariable is what a prefix in a session tag costs in a resource, with a key of one letter.
const tagVariable = len("${aws:PrincipalTag/p}")

// help says what would make the policy fit.
func help(p Policy, size, limit int) []string {
	var out []string
	frame := textLength(Policy{Statements: []Statement{{Effect: Allow}}})
	if limit > 2*frame {
		n := (size - frame + limit - frame - 1) / (limit - frame)
		out = append(out, fmt.Sprintf("split the grant into %d or more", max(2, n)))
	}
	saved := map[string]int{}
	for _, s := range p.Statements {
		for prefix, n := range prefixes(slices.Concat(s.Resource, s.NotResource)) {
			saved[prefix] += n * (len(prefix) - tagVariable)
		}
	}
	best := ""
	for _, prefix := range slices.Sorted(maps.Keys(saved)) {
		if best == "" || saved[prefix] > saved[best] {
			best = prefix
		}
	}
	if best != "" && saved[best] > 0 {
		out = append(out, fmt.Sprintf("carry %q in a session tag and write ${aws:PrincipalTag/p} for it, which saves %d",
			best, saved[best]))
	}
	if len(out) == 0 {
		out = append(out, "ask for fewer resources")
	}
	return out
}

// prefixes returns how many resources share each beginning, taken after the fifth colon, where IAM has variables, and up
// to a slash.
func prefixes(resources []string) map[string]int {
	out := map[string]int{}
	for _, r := range resources {
		fields := strings.SplitN(r, ":", arnColons+1)
		if len(fields) <= arnColons {
			continue
		}
		rest := fields[arnColons]
		for i := range len(rest) {
			if strings.IndexByte("*?$", rest[i]) >= 0 {
				break
			}
			if rest[i] == '/' || i == len(rest)-1 {
				out[rest[:i+1]]++
			}
		}
	}
	for prefix, n := range out {
		if n < 2 {
			delete(out, prefix)
		}
	}
	return out
}

// textLength is Size for a policy that may lack something.
func textLength(p Policy) int { return p.length() }
