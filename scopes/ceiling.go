package scopes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Ceiling is the widest that a scope can ever give: its permissions with every parameter at the widest that its type
// and its allowed values admit. Exactly one field is set. It is not bound to a deadline, networks or Regions, which
// only narrow it.
type Ceiling struct {
	AWS   *iam.Policy
	Vault []vaultacl.Rule // for a scope with read: the paths that the broker may read for it
}

// Ceiling returns a copy of the scope's ceiling. Every Request of the scope has been proven to lie within it.
func (s *Scope) Ceiling() Ceiling {
	p := Permissions{AWS: s.ceiling.AWS, Vault: s.ceiling.Vault}.clone()
	return Ceiling{AWS: p.AWS, Vault: p.Vault}
}

// widen works out the scope's ceiling.
func (c *compiler) widen() error {
	s, err := c.scope, error(nil)
	if s.provider == ProviderAWS {
		p := s.widestAWS()
		s.ceiling.AWS, s.ceilingAWS = &p, bounds(p)
		err = p.ValidateSession()
	} else if s.ceiling.Vault, err = s.widestVault(); err == nil {
		s.ceilingVault = []vaultacl.Policy{vaultacl.FromRules("ceiling", s.ceiling.Vault)}
	}
	if err != nil {
		return atf("$", "the scope at its widest parameters: %w", err)
	}
	return nil
}

// words is a request in one line, for people.
func words(r iam.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s", r.Action, r.Resource)
	for i, key := range slices.Sorted(maps.Keys(r.Context)) {
		sep := " and "
		if i == 0 {
			sep = " with "
		}
		fmt.Fprintf(&b, "%s%s %q", sep, key, r.Context[key])
	}
	return b.String()
}
