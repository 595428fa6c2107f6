package vaultacl

import (
	"slices"
	"strings"
)

// coversBound tells whether wide allows all that narrow could, whatever fills narrow's templates: more than narrow does.
// Each rule is taken alone and without its limits, and one with a template as every path that begins as it does. No
// value leads out of that, whatever slashes and wildcards it has. False says nothing.
func coversBound(budget int, wide, narrow []Policy) bool {
	if len(selectors(narrow)) == 0 {
		return false
	}
	for _, p := range narrow {
		for _, r := range p.Paths {
			bound := PathRule{Path: r.Path, Capabilities: r.Capabilities}
			parts, sels, err := splitTemplates(r.Path)
			switch {
			case err != nil, slices.Contains(r.Capabilities, "sudo"): // sudo counts beside another rule's capability
				return false
			case slices.Contains(r.Capabilities, "deny"):
				continue
			case len(sels) > 0:
				bound.Path = widened(parts[0])
			}
			if CoversWithin(budget, wide, []Policy{{Paths: []PathRule{bound}}}).Answer != Yes {
				return false
			}
		}
	}
	return true
}

// widened returns a path that takes all that a path with this head takes once it is filled. The last character of the
// head may turn out to be a wildcard: "a/+" where the value brings a slash, "a/*" where it is empty and ends the path.
func widened(head string) string {
	head = strings.TrimSuffix(strings.TrimLeft(head, "/"), "*")
	if head == "+" || strings.HasSuffix(head, "/+") {
		head = strings.TrimSuffix(head, "+")
	}
	return head + "*"
}
