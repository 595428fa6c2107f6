package scopes

import "github.com/valetkey/valetkey/scopes/iam"

// Within is the structural proof alone: a no means no more than that it does not apply.
func Within(d iam.Dialect, ceiling, p iam.Policy) bool { return within(d, bounds(ceiling), p) }

// Lower gives a scope the ceiling of another, as if its own had been worked out too low.
func (s *Scope) Lower(to *Scope) {
	s.ceiling, s.enforced, s.ceilingVault = to.ceiling, to.enforced, to.ceilingVault
}
