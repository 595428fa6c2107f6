package scopes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
)

// enforcement is a scope as one dialect's enforcer would hold it.
type enforcement struct {
	ceiling iam.Policy // the scope at its widest parameters
	bounds  []bound    // the same, ready to prove with
	fault   error      // why the dialect cannot have the scope, with file and line; nil where it can
}

// Dialects returns the enforcers that the scope can be of: its role's, once the catalog is Under its roles, and
// otherwise all that model it. A Vault scope has none.
func (s *Scope) Dialects() []iam.Dialect {
	if s.dialect != "" {
		return []iam.Dialect{s.dialect}
	}
	var out []iam.Dialect
	for _, d := range iam.Dialects() {
		if e := s.enforced[d]; e != nil && e.fault == nil {
			out = append(out, d)
		}
	}
	return out
}

// CeilingFor is Ceiling as one dialect's enforcer reads it. The zero value is of a dialect that does not model the scope,
// and of a Vault scope.
func (s *Scope) CeilingFor(d iam.Dialect) Ceiling {
	if e := s.enforced[d]; e != nil && e.fault == nil {
		p := e.ceiling.Clone()
		return Ceiling{AWS: &p}
	}
	return Ceiling{}
}

// Under returns the catalog as its roles' enforcers hold it: dialects has one for every role of an AWS scope. It refuses a
// scope that its role's dialect does not model, or that does not fit there; the error wraps ErrDialect and has a line
// "FILE:LINE:COLUMN: why" for each.
func (c *Catalog) Under(dialects map[string]iam.Dialect) (*Catalog, error) {
	out := &Catalog{version: c.version, byName: map[string]*Scope{}}
	var faults []error
	for _, s := range c.scopes {
		bound := *s
		if s.provider == ProviderAWS {
			d, ok := dialects[s.role]
			if !ok {
				faults = append(faults, fmt.Errorf("%w: %s: scope %q names role %q, whose dialect nobody says", ErrDialect, s.file, s.name, s.role))
				continue
			}
			if _, err := s.under(d); err != nil {
				faults = append(faults, err)
				continue
			}
			bound.dialect = d
		}
		out.scopes = append(out.scopes, &bound)
		out.byName[s.name] = &bound
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return out, nil
}

// For is Under with one dialect for all roles.
func (c *Catalog) For(d iam.Dialect) (*Catalog, error) {
	all := map[string]iam.Dialect{}
	for _, s := range c.scopes {
		all[s.role] = d
	}
	return c.Under(all)
}

// under is the scope as the dialect's enforcer holds it. Its error wraps ErrDialect.
func (s *Scope) under(d iam.Dialect) (*enforcement, error) {
	if s.dialect != "" && d != s.dialect {
		return nil, fmt.Errorf("%w: %s: scope %q is of role %q, whose dialect is %q and not %q", ErrDialect, s.file, s.name, s.role, s.dialect, d)
	}
	e := s.enforced[d]
	switch {
	case d == "":
		return nil, fmt.Errorf("%w: %s: scope %q: nobody says which of %q enforces role %q", ErrDialect, s.file, s.name, s.Dialects(), s.role)
	case e == nil:
		_, err := iam.ParseDialect(string(d))
		return nil, fmt.Errorf("%w: %s: scope %q: %w", ErrDialect, s.file, s.name, err)
	case e.fault != nil:
		return nil, e.fault
	}
	return e, nil
}

// enforce works out what each dialect makes of the scope. A scope that none can have is refused as AWS's is.
func (c *compiler) enforce() error {
	s := c.scope
	if s.provider != ProviderAWS {
		return c.measureVault()
	}
	s.enforced = map[iam.Dialect]*enforcement{}
	for _, d := range iam.Dialects() {
		p := s.widestAWS(d)
		s.enforced[d] = &enforcement{ceiling: p, bounds: bounds(p)}
		s.enforced[d].fault = c.measure(d)
	}
	if len(s.Dialects()) == 0 {
		return s.enforced[iam.DialectAWS].fault
	}
	return nil
}

// measure says what keeps the dialect from having the scope: what it does not model, or a smallest policy that is not
// proven within the ceiling, or is too large already.
func (c *compiler) measure(d iam.Dialect) error {
	s := c.scope
	e := s.enforced[d]
	if err := e.ceiling.ValidateSession(); err != nil {
		return atf("$", "the scope at its widest parameters: %w", err)
	}
	values, real := s.examples()
	perms, err := s.renderAWS(d, values)
	if err != nil {
		return at("$.statements", err)
	}
	for i, st := range perms.AWS.Statements {
		if err := d.Models(iam.Policy{Version: iam.Version, Statements: []iam.Statement{st}}); err != nil {
			return atf(fmt.Sprintf("$.statements[%d]", i), "%w: %w", ErrDialect, err)
		}
	}
	if err := s.prove(perms); err != nil && real {
		return at("$", err)
	}
	if _, err := s.fits(d, perms.AWS); err != nil {
		if errors.Is(err, iam.ErrDialect) {
			return atf("$.bindings", "%w: %w", ErrDialect, err)
		}
		return atf("$.statements", "%w, even with the shortest parameters; a wildcard in an action is expanded", err)
	}
	return nil
}

// measureVault refuses a scope whose smallest permissions cannot be proven within its ceiling.
func (c *compiler) measureVault() error {
	values, real := c.scope.examples()
	perms, err := c.scope.renderVault(values)
	if err != nil {
		return at("$.statements", err)
	}
	if err := c.scope.prove(perms); err != nil && real {
		return at("$", err)
	}
	return nil
}

// slashed adds to a ceiling what a server takes that has a bucket for "bucket/", where a value in the middle of a
// resource makes a wildcard of it: "team-*-logs" does not take "team-a-logs/", which "team-a-logs" does.
func slashed(d iam.Dialect, resources []string) []string {
	if d != iam.DialectMinIO {
		return resources
	}
	out := slices.Clone(resources)
	for _, r := range resources {
		if strings.Contains(r, "*") && !strings.HasSuffix(r, "*") && !strings.HasSuffix(r, "/") {
			out = append(out, r+"/")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ResolveAll is Resolve for every enforcer that the scope could have, and refuses what one of them refuses: for who has a
// catalog and no roles. A Vault scope, and one of a catalog that is Under its roles, has one.
func (c *Catalog) ResolveAll(q Query) ([]Request, error) {
	s, ok := c.Scope(q.Scope)
	if !ok || s.provider != ProviderAWS || q.Dialect != "" {
		r, err := c.Resolve(q)
		return []Request{r}, err
	}
	var out []Request
	for _, q.Dialect = range s.Dialects() {
		r, err := c.Resolve(q)
		if err != nil {
			return nil, fmt.Errorf("for dialect %q: %w", q.Dialect, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// locate gives every dialect's fault its place in the file.
func (s *Scope) locate(of func(error) error) {
	for _, d := range slices.Sorted(maps.Keys(s.enforced)) {
		if e := s.enforced[d]; e.fault != nil {
			e.fault = of(e.fault)
		}
	}
}
