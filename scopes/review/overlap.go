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
	for _, other := range l.catalog.Scopes() {
		if other == l.scope || other.Provider() != l.scope.Provider() || other.Role() != l.scope.Role() || other.Tier() != l.scope.Tier() {
			continue
		}
		if !covers(other, l.scope) {
			continue
		}
		switch both := covers(l.scope, other); {
		case both && other.Name() < l.scope.Name():
			l.found(RuleSame, "keep one of the two, or say in a comment what policies tell them apart by",
				"at its widest it gives exactly what %s gives", other.Name())
		case !both:
			l.found(RuleCovered, "narrow the wider one, or drop one of the two",
				"at its widest it gives nothing that %s, of the same tier, does not give", other.Name())
		}
	}
}

// covers tells whether the ceiling of one scope covers that of another of the same provider, for every enforcer that the
// narrow one could have.
func covers(wide, narrow *scopes.Scope) bool {
	if wide.Provider() == scopes.ProviderAWS {
		for _, d := range narrow.Dialects() {
			w, n := wide.CeilingFor(d).AWS, narrow.CeilingFor(d).AWS
			if w == nil {
				return false
			}
			if c, err := iam.Covers(d, []iam.Policy{*w}, []iam.Policy{*n}); err != nil || c.Answer != iam.Yes {
				return false
			}
		}
		return true
	}
	policy := func(c scopes.Ceiling) []vaultacl.Policy {
		return []vaultacl.Policy{vaultacl.FromRules("ceiling", c.Vault)}
	}
	return vaultacl.Covers(policy(wide.Ceiling()), policy(narrow.Ceiling())).Answer == vaultacl.Yes
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
