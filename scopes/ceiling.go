package scopes

import (
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

// Ceiling returns a copy of the scope's ceiling, for the first of its Dialects. Every Request of the scope has been
// proven to lie within it.
func (s *Scope) Ceiling() Ceiling {
	if s.provider == ProviderAWS {
		return s.CeilingFor(s.Dialects()[0]) // one that no dialect can have does not load
	}
	return Ceiling{Vault: Permissions{Vault: s.ceiling.Vault}.Clone().Vault}
}

// widen works out a Vault scope's ceiling; an AWS scope has one for each dialect.
func (c *compiler) widen() (err error) {
	s := c.scope
	if s.provider == ProviderAWS {
		return nil
	}
	if s.ceiling.Vault, err = s.widestVault(); err != nil {
		return atf("$", "the scope at its widest parameters: %w", err)
	}
	s.ceilingVault = []vaultacl.Policy{vaultacl.FromRules("ceiling", s.ceiling.Vault)}
	return nil
}
