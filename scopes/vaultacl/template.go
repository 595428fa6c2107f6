package vaultacl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A template is a path in which Vault fills in what it knows of the caller's entity. The value is not known here: a
// template stands for any text that its selector can give.

var errUnbalanced = errors.New("a {{ without its }}")

// canonicalTemplates checks the templates of a path and writes each as {{selector}}.
func canonicalTemplates(path string) (string, error) {
	parts, atoms, err := splitTemplates(path)
	if err != nil {
		return path, err
	}
	var b strings.Builder
	for i, p := range parts {
		b.WriteString(p)
		if i < len(atoms) {
			b.WriteString("{{" + atoms[i] + "}}")
		}
	}
	return b.String(), nil
}

// splitTemplates returns the text around the templates, one piece more than there are selectors.
func splitTemplates(path string) (parts, selectors []string, err error) {
	for i, piece := range strings.Split(path, "{{") {
		sel, rest, closed := strings.Cut(piece, "}}")
		switch {
		case i == 0 && closed, i > 0 && !closed, strings.Contains(rest, "}}"):
			return nil, nil, errUnbalanced
		case i == 0:
			parts = append(parts, piece)
			continue
		}
		sel = strings.TrimSpace(sel)
		if !strings.HasPrefix(sel, "identity.entity.") && !strings.HasPrefix(sel, "identity.groups.") {
			return nil, nil, fmt.Errorf("{{%s}} is nothing that Vault fills in; known are identity.entity.* and identity.groups.*", sel)
		}
		parts, selectors = append(parts, rest), append(selectors, sel)
	}
	return parts, selectors, nil
}

// selectors lists what the policies' paths are filled with, sorted and unique.
func selectors(sets ...[]Policy) []string {
	var out []string
	for _, set := range sets {
		for _, p := range set {
			for i := range p.Paths {
				r := &p.Paths[i]
				if !strings.Contains(r.Path, "{{") {
					continue // as nearly all
				}
				if _, sels, err := splitTemplates(r.Path); err == nil {
					out = append(out, sels...)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// isID tells whether a selector gives the UUID of an entity, or of a group by its name: nobody can choose it, and two
// such selectors never give the same.
func isID(selector string) bool {
	if selector == "identity.entity.id" {
		return true
	}
	rest, ok := strings.CutPrefix(selector, "identity.groups.names.")
	// A group's name may have dots of its own, but Vault cuts at the first.
	_, field, cut := strings.Cut(rest, ".")
	return ok && cut && field == "id"
}

// fixedID returns the value of a selector that names a group by its id and asks for that id.
func fixedID(selector string) (string, bool) {
	rest, ok := strings.CutPrefix(selector, "identity.groups.ids.")
	id, field, cut := strings.Cut(rest, ".")
	return id, ok && cut && field == "id"
}

// Fill returns the policies as Vault 1.21 reads them for one caller: with values for their selectors, such as
// "identity.entity.id". A path that lacks a value is as if it were not there. A value's own "/", "+" and "*" count as if
// they stood in the policy, where newer versions of Vault deny; and a "+*" that comes about leaves no rule at all, since
// Vault then fails to read the token's policies.
func Fill(policies []Policy, values map[string]string) []Policy {
	out := make([]Policy, len(policies))
	broken := false
	for i, p := range policies {
		out[i] = Policy{Name: p.Name, Paths: slices.Clone(p.Paths)}
		for j := range out[i].Paths {
			r := &out[i].Paths[j]
			if !strings.Contains(r.Path, "{{") {
				continue
			}
			parts, sels, err := splitTemplates(r.Path)
			if err != nil || len(sels) == 0 {
				continue
			}
			path, ok := join(parts, sels, values)
			if strings.Trim(parts[0], "/") == "" {
				path = strings.TrimPrefix(path, "/") // see checkPath
			}
			broken = broken || ok && strings.Contains(path, "+*")
			r.source, r.Path, r.absent = r.Path, path, !ok
		}
	}
	for i := range out {
		for j := range out[i].Paths {
			out[i].Paths[j].absent = broken || out[i].Paths[j].absent
		}
	}
	return out
}

func join(parts, sels []string, values map[string]string) (string, bool) {
	var b strings.Builder
	for i, p := range parts {
		b.WriteString(p)
		if i < len(sels) {
			v, ok := values[sels[i]]
			if !ok {
				return "", false
			}
			b.WriteString(v)
		}
	}
	return b.String(), true
}
