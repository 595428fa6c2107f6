package scopes

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/internal/glob"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Resolve checks a query against its scope and compiles its permissions. Its errors wrap ErrUnknownScope,
// ErrStaleVersion, ErrParameter, ErrTTL, ErrTooLarge, ErrUnproven, ErrEmpty, or ErrDialect, which is the catalog's fault
// and not the caller's.
func (c *Catalog) Resolve(q Query) (Request, error) {
	s, ok := c.Scope(q.Scope)
	if !ok {
		if len(q.Scope) > 64 {
			q.Scope = q.Scope[:64]
		}
		return Request{}, fmt.Errorf("%w: %q", ErrUnknownScope, q.Scope)
	}
	if q.Version != "" && q.Version != s.version {
		return Request{}, fmt.Errorf("%w: scope %q is at %s", ErrStaleVersion, s.name, s.version)
	}
	r := Request{scope: s, tier: s.tier, reasons: s.why}
	var err error
	if r.ttl, err = s.life(q.TTL); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if r.params, err = s.check(q.Params); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if r.permissions, err = s.renderFor(q.Dialect, r.params); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if err = s.prove(r.permissions); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if err = r.fit(); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if p := r.permissions.AWS; p != nil {
		if r.permissions.AWS, err = s.fits(r.permissions.Dialect, p); err != nil {
			return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
		}
	}
	if err = r.print(); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	r.targets()
	return r, nil
}

func (s *Scope) life(ttl time.Duration) (time.Duration, error) {
	switch {
	case ttl == 0:
		return s.defaultTTL, nil
	case ttl < time.Second || ttl%time.Second != 0:
		return 0, fmt.Errorf("%w: %s is not whole seconds", ErrTTL, ttl)
	case ttl > s.maxTTL:
		return 0, fmt.Errorf("%w: %s is over the maximum of %s", ErrTTL, ttl, s.maxTTL)
	}
	return ttl, nil
}

// check returns the canonical parameters: all that the scope declares and nothing else.
func (s *Scope) check(in map[string][]string) (map[string][]string, error) {
	for name := range in {
		if _, ok := s.compiled[name]; !ok {
			return nil, s.undeclared(in)
		}
	}
	out := make(map[string][]string, len(s.compiled))
	for _, p := range s.params {
		values, err := s.compiled[p.Name].values(in[p.Name])
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrParameter, p.Name, err)
		}
		if s.provider == ProviderVault {
			for _, v := range values {
				if err := vaultValue(v); err != nil {
					return nil, fmt.Errorf("%w: %s: %w", ErrParameter, p.Name, err)
				}
			}
		}
		out[p.Name] = values
	}
	return out, nil
}

// undeclared says which parameter, the first by name, the scope does not declare.
func (s *Scope) undeclared(in map[string][]string) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		switch _, ok := s.compiled[name]; {
		case ok:
		case !placeholder.MatchString(name):
			return fmt.Errorf("%w: a parameter name that is not a lower-case word", ErrParameter)
		default:
			return fmt.Errorf("%w: scope has no parameter %q", ErrParameter, name)
		}
	}
	return nil
}

// renderFor fills the scope's templates with canonical values, for a dialect that can have the scope: its role's where d
// is empty.
func (s *Scope) renderFor(d iam.Dialect, values map[string][]string) (Permissions, error) {
	if s.provider == ProviderVault {
		if d != "" {
			return Permissions{}, fmt.Errorf("%w: dialect %q of a scope for %s", ErrDialect, d, s.provider)
		}
		return s.renderVault(values)
	}
	if d == "" {
		d = s.dialect
	}
	if _, err := s.under(d); err != nil {
		return Permissions{}, err
	}
	return s.renderAWS(d, values)
}

func (s *Scope) renderAWS(d iam.Dialect, values map[string][]string) (Permissions, error) {
	p := iam.Policy{Version: iam.Version, Statements: make([]iam.Statement, 0, len(s.statements))}
	for i := range s.statements {
		st := &s.statements[i]
		out := iam.Statement{Effect: iam.Allow, Action: st.actions}
		for _, t := range st.resources {
			arns, err := t.render(values)
			switch {
			case err != nil:
				return Permissions{}, err
			case out.Resource == nil:
				out.Resource = arns
			default:
				out.Resource = append(out.Resource, arns...)
			}
		}
		out.Resource = sortedSet(out.Resource)
		for op, keys := range st.conditions {
			for key, ts := range keys {
				for _, t := range ts {
					vs, err := t.render(values)
					if err != nil {
						return Permissions{}, err
					}
					if out.Condition == nil {
						out.Condition = make(map[string]map[string][]string, len(st.conditions))
					}
					if out.Condition[op] == nil {
						out.Condition[op] = make(map[string][]string, len(keys))
					}
					out.Condition[op][key] = append(out.Condition[op][key], vs...)
				}
				out.Condition[op][key] = sortedSet(out.Condition[op][key])
			}
		}
		p.Statements = append(p.Statements, out)
	}
	if len(p.Statements) == 0 {
		return Permissions{}, ErrEmpty
	}
	return Permissions{AWS: &p, Dialect: d}, nil
}

func (s *Scope) renderVault(values map[string][]string) (Permissions, error) {
	if s.read != nil {
		paths, err := s.read.render(values)
		switch {
		case err != nil:
			return Permissions{}, err
		case len(paths) != 1:
			return Permissions{}, fmt.Errorf("%w: the values name %d paths to read, not one", ErrParameter, len(paths))
		}
		if err := vaultacl.Validate([]vaultacl.Rule{{Path: paths[0], Capabilities: []string{"read"}}}); err != nil {
			return Permissions{}, fmt.Errorf("%w: %w", ErrParameter, err)
		}
		if t, why := dynamicTier(paths[0]); t > s.tier {
			return Permissions{}, fmt.Errorf("%w: the values raise the scope's tier: %s", ErrParameter, why)
		}
		return Permissions{VaultRead: paths[0], VaultWrap: s.wrap}, nil
	}
	caps := map[string][]string{} // two templates can become one path
	for _, p := range s.paths {
		paths, err := p.path.render(values)
		if err != nil {
			return Permissions{}, err
		}
		for _, path := range paths {
			caps[path] = append(caps[path], p.capabilities...)
		}
	}
	var rules []vaultacl.Rule
	for path, c := range caps {
		rules = append(rules, vaultacl.Rule{Path: path, Capabilities: c})
	}
	if len(rules) == 0 {
		return Permissions{}, ErrEmpty
	}
	rules = vaultacl.Canonical(rules)
	if err := vaultacl.Validate(rules); err != nil {
		return Permissions{}, fmt.Errorf("%w: %w", ErrParameter, err)
	}
	// A value can be a word that Vault gives a meaning, such as "roles".
	for _, r := range rules {
		if t, why := vaultTier(r.Path, r.Capabilities); t > s.tier {
			return Permissions{}, fmt.Errorf("%w: the values raise the scope's tier: %s", ErrParameter, why)
		}
	}
	return Permissions{Vault: rules}, nil
}

// fit refuses values that make a resource of another type than the template's, which free text in a hole can do. The
// other types were settled when the catalog was loaded.
func (r *Request) fit() error {
	free := func(p Param) bool { return p.Type == TypeARN || p.Type == TypePattern || p.Type == TypeEnum }
	if r.permissions.AWS == nil || !slices.ContainsFunc(r.scope.params, free) {
		return nil
	}
	for _, st := range r.permissions.AWS.Statements {
		patterns := make([]glob.Pattern, len(st.Resource))
		for i, arn := range st.Resource {
			patterns[i] = wild(arn)
		}
		if action, resource := mismatch(st.Action, patterns, st.Resource); action != "" {
			return fmt.Errorf("%w: %s cannot take any of %q", ErrParameter, action, st.Resource)
		} else if resource != "" {
			return fmt.Errorf("%w: none of the scope's actions can take %q", ErrParameter, resource)
		}
	}
	return nil
}

// targets lists what the permissions reach, for the record.
func (r *Request) targets() {
	s, p := r.scope, r.permissions
	r.sensitive = s.sensitive
	switch {
	case p.AWS != nil:
		n := 0
		for i := range p.AWS.Statements {
			n += len(p.AWS.Statements[i].Resource)
		}
		r.resources = make([]string, 0, n)
		for i := range p.AWS.Statements {
			r.resources = append(r.resources, p.AWS.Statements[i].Resource...)
			r.actions = append(r.actions, p.AWS.Statements[i].Action...)
		}
	case p.VaultRead != "":
		r.actions, r.resources = []string{"vault:read"}, []string{p.VaultRead}
		r.sensitive = append(slices.Clip(r.sensitive), "vault:read "+p.VaultRead+": a dynamic secret")
	default:
		r.sensitive = slices.Clip(r.sensitive)
		for _, rule := range p.Vault {
			r.resources = append(r.resources, rule.Path)
			for _, c := range rule.Capabilities {
				r.actions = append(r.actions, "vault:"+c)
				if c == "read" {
					r.sensitive = append(r.sensitive, "vault:read "+rule.Path+": a secret's value")
				}
			}
		}
	}
	r.actions, r.resources = sortedSet(r.actions), sortedSet(r.resources)
	if p.AWS == nil { // else it is the scope's own list, which is sorted
		r.sensitive = sortedSet(r.sensitive)
	}
}

// sortedSet sorts a list in place, and returns it without repeats.
func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
