package vaultacl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrPolicy is the parent of every refusal of this package.
var ErrPolicy = errors.New("invalid Vault policy")

// Rule is what the broker may grant under one path: the subset of PathRule that only allows. Paths follow Vault's own grammar: a "*" at the end is any suffix, a "+"
// is one whole segment (https://developer.hashicorp.com/vault/docs/concepts/policies).
type Rule struct {
	Path         string   `json:"path"`
	Capabilities []string `json:"capabilities"`
}

// Capabilities returns what a rule may name, sorted. "deny" is not among them: a rule set only allows, and "subscribe"
// has no request that this project could bind.
func Capabilities() []string { return slices.Clone(capabilities) }

var capabilities = []string{"create", "delete", "list", "patch", "read", "sudo", "update"} // read-only

// Validate says what is wrong with the rules.
func Validate(rules []Rule) error {
	if len(rules) == 0 {
		return fmt.Errorf("%w: it allows nothing", ErrPolicy)
	}
	var seen map[string]bool
	if len(rules) > 1 {
		seen = make(map[string]bool, len(rules))
	}
	for _, r := range rules {
		if err := validatePath(r.Path); err != nil {
			return err
		}
		if seen[r.Path] {
			return fmt.Errorf("%w: path %q is there twice", ErrPolicy, r.Path)
		}
		if seen != nil {
			seen[r.Path] = true
		}
		if len(r.Capabilities) == 0 {
			return fmt.Errorf("%w: path %q has no capabilities", ErrPolicy, r.Path)
		}
		for _, c := range r.Capabilities {
			if !slices.Contains(capabilities, c) {
				return fmt.Errorf("%w: path %q: unknown capability %q", ErrPolicy, r.Path, c)
			}
		}
	}
	return nil
}

// validatePath holds a path to printable ASCII without quotes, backslashes and templates, and "*" and "+" to the
// places where Vault gives them a meaning.
func validatePath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%w: an empty path", ErrPolicy)
	case strings.HasPrefix(path, "/"):
		return fmt.Errorf("%w: path %q begins with a slash", ErrPolicy, path)
	case strings.Contains(path, "//"):
		return fmt.Errorf("%w: path %q has an empty segment", ErrPolicy, path)
	case strings.Contains(strings.TrimSuffix(path, "*"), "*"):
		return fmt.Errorf("%w: path %q has a * that is not at its end", ErrPolicy, path)
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c > '~' || strings.IndexByte("\"\\{}$%", c) >= 0 {
			return fmt.Errorf("%w: path %q has a character that is not allowed: %q", ErrPolicy, path, c)
		}
	}
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return fmt.Errorf("%w: path %q has a %q segment", ErrPolicy, path, seg)
		}
		// "+*" too: Vault 1.21 refuses the whole policy for it.
		if seg != "+" && strings.Contains(seg, "+") {
			return fmt.Errorf("%w: path %q has a + that is not a whole segment", ErrPolicy, path)
		}
	}
	return nil
}

// Canonical returns a sorted deep copy of the rules.
func Canonical(rules []Rule) []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		caps := slices.Clone(r.Capabilities)
		slices.Sort(caps)
		out[i] = Rule{Path: r.Path, Capabilities: slices.Compact(caps)}
	}
	slices.SortFunc(out, func(a, b Rule) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// AppendJCS appends the rules in their canonical form as RFC 8785 JSON. It refuses what Validate refuses, and so meets no
// character that JSON escapes.
func AppendJCS(to []byte, rules []Rule) ([]byte, error) {
	if err := Validate(rules); err != nil {
		return nil, err
	}
	to = append(to, '[')
	for i, r := range Canonical(rules) {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, `{"capabilities":[`...)
		for j, c := range r.Capabilities {
			if j > 0 {
				to = append(to, ',')
			}
			to = append(append(append(to, '"'), c...), '"')
		}
		to = append(append(append(to, `],"path":"`...), r.Path...), `"}`...)
	}
	return append(to, ']'), nil
}

// Print returns the rules as HCL in their canonical form, or "" for rules that Validate refuses: a caller that skips
// Validate gets a policy that allows nothing.
func Print(rules []Rule) string {
	if Validate(rules) != nil {
		return ""
	}
	var b strings.Builder
	for _, r := range Canonical(rules) {
		fmt.Fprintf(&b, "path %q {\n  capabilities = [", r.Path)
		for i, c := range r.Capabilities {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", c)
		}
		b.WriteString("]\n}\n")
	}
	return b.String()
}
