package review

import (
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// covered looks for scopes that make this one needless. One of a higher tier does not: to have less is what this one is
// for. What cannot be told is no finding.
func (l *linter) covered() {
	mine := l.scope.Ceiling()
	for _, other := range l.catalog.Scopes() {
		if other == l.scope || other.Provider() != l.scope.Provider() || other.Role() != l.scope.Role() || other.Tier() != l.scope.Tier() {
			continue
		}
		theirs := other.Ceiling()
		if !covers(theirs, mine) {
			continue
		}
		switch both := covers(mine, theirs); {
		case both && other.Name() < l.scope.Name():
			l.found(RuleSame, "keep one of the two, or say in a comment what policies tell them apart by",
				"at its widest it gives exactly what %s gives", other.Name())
		case !both:
			l.found(RuleCovered, "narrow the wider one, or drop one of the two",
				"at its widest it gives nothing that %s, of the same tier, does not give", other.Name())
		}
	}
}

func covers(wide, narrow scopes.Ceiling) bool {
	if wide.AWS != nil && narrow.AWS != nil {
		c, err := iam.Covers([]iam.Policy{*wide.AWS}, []iam.Policy{*narrow.AWS})
		return err == nil && c.Answer == iam.Yes
	}
	if wide.AWS != nil || narrow.AWS != nil {
		return false
	}
	policy := func(c scopes.Ceiling) []vaultacl.Policy {
		return []vaultacl.Policy{vaultacl.FromRules("ceiling", c.Vault)}
	}
	return vaultacl.Covers(policy(wide), policy(narrow)).Answer == vaultacl.Yes
}

var word = regexp.MustCompile(`[a-z]{3,}`)

// hints are words by which a description owns up to secrets, and common are those of a reason that say nothing. Both
// are read-only.
var (
	hints  = []string{"secret", "credential", "password", "token", "decrypt", "private key", "account"}
	common = []string{"vault", "read", "get", "value", "values", "under", "another", "among", "them", "every", "state", "the", "and", "arn", "aws", "dynamic", "data"}
)

// secrets looks for reads of secrets that the description does not own up to. It goes by words, so it can be wrong both
// ways.
func (l *linter) secrets() {
	_, r, err := example(l.catalog, l.scope)
	if err != nil {
		return
	}
	text := strings.ToLower(l.scope.Description())
	if slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(text, h) }) {
		return
	}
	for _, s := range r.SensitiveReads() {
		named := slices.ContainsFunc(word.FindAllString(strings.ToLower(s), -1), func(w string) bool {
			return !slices.Contains(common, w) && strings.Contains(text, strings.TrimSuffix(w, "s"))
		})
		if !named {
			l.found(RuleSecret, "say in the description which secrets it reads: approvers see that line", "it reads secrets: %s", s)
		}
	}
}
