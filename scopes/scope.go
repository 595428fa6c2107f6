package scopes

import (
	"slices"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Scope is one entry of the catalog, loaded and checked. It never changes and is safe for concurrent use.
type Scope struct {
	name, version, description string
	provider                   Provider
	role                       string
	params                     []Param
	defaultTTL, maxTTL         time.Duration
	tier                       Tier
	sourceCIDRs, regions       []string
	file                       string // its base name

	compiled   map[string]param
	statements []statement // AWS
	paths      []vaultPath // Vault: a policy of these rules, or
	read       template    // the one path to read
	wrap       bool
	reasons    []tierReason // all of them, of whatever tier
	why        []string     // those of its own tier, sorted
	sensitive  []string     // sorted
	outlives   []string     // sorted
	outline    Outline

	ceiling      Ceiling                      // Vault
	ceilingVault []vaultacl.Policy            // the same, ready to prove with
	enforced     map[iam.Dialect]*enforcement // AWS: by whom it could be enforced
	dialect      iam.Dialect                  // AWS: by whom it is; empty until the catalog is Under its roles
}

// Name returns the scope's name, unique in its catalog.
func (s *Scope) Name() string { return s.name }

// Version returns "sha256:" and the hex digest over everything that gives the scope its meaning, the expansion of its
// action wildcards and its tier among it.
func (s *Scope) Version() string { return s.version }

// Description says what the scope is for.
func (s *Scope) Description() string { return s.description }

// Provider returns the system that enforces the scope.
func (s *Scope) Provider() Provider { return s.provider }

// Role returns the name of the broker's role that credentials are minted from.
func (s *Scope) Role() string { return s.role }

// Params returns a copy of the parameters, sorted by name.
func (s *Scope) Params() []Param {
	out := slices.Clone(s.params)
	for i := range out {
		out[i].Allowed = slices.Clone(out[i].Allowed)
	}
	return out
}

// DefaultTTL returns the life of a grant that does not wish for one.
func (s *Scope) DefaultTTL() time.Duration { return s.defaultTTL }

// MaxTTL returns the longest life of a grant.
func (s *Scope) MaxTTL() time.Duration { return s.maxTTL }

// Tier returns the widest tier over all parameters.
func (s *Scope) Tier() Tier { return s.tier }

// SourceCIDRs returns the networks that a credential works from, sorted; none means any.
func (s *Scope) SourceCIDRs() []string { return slices.Clone(s.sourceCIDRs) }

// Regions returns the AWS Regions whose endpoints a credential works with, sorted; none means any.
func (s *Scope) Regions() []string { return slices.Clone(s.regions) }
