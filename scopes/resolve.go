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
// ErrStaleVersion, ErrParameter, ErrTTL, ErrTooLarge, ErrUnproven or ErrEmpty.
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
	r := Request{scope: s, tier: s.tier, sensitive: slices.Clone(s.sensitive)}
	var err error
	if r.ttl, err = s.life(q.TTL); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if r.params, err = s.check(q.Params); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if r.permissions, err = s.render(r.params); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if err = s.prove(r.permissions); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if err = r.fit(); err != nil {
		return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
	}
	if r.permissions.AWS != nil {
		if r.permissions.AWS, err = s.fits(*r.permissions.AWS); err != nil {
			return Request{}, fmt.Errorf("resolving scope %q: %w", s.name, err)
		}
	}
	r.targets()
	for _, reason := range s.reasons {
		if reason.tier == s.tier {
			r.reasons = append(r.reasons, reason.text)
		}
	}
	slices.Sort(r.reasons)
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
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if _, ok := s.compiled[name]; !ok {
			if !placeholder.MatchString(name) {
				return nil, fmt.Errorf("%w: a parameter name that is not a lower-case word", ErrParameter)
			}
			return nil, fmt.Errorf("%w: scope has no parameter %q", ErrParameter, name)
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

// render fills the scope's templates with canonical values.
func (s *Scope) render(values map[string][]string) (Permissions, error) {
	if s.provider == ProviderAWS {
		return s.renderAWS(values)
	}
	return s.renderVault(values)
}

func (s *Scope) renderAWS(values map[string][]string) (Permissions, error) {
	p := iam.Policy{Version: iam.Version}
	for _, st := range s.statements {
		out := iam.Statement{Effect: iam.Allow, Action: slices.Clone(st.actions)}
		for _, t := range st.resources {
			arns, err := t.render(values)
			if err != nil {
				return Permissions{}, err
			}
			out.Resource = append(out.Resource, arns...)
		}
		slices.Sort(out.Resource)
		out.Resource = slices.Compact(out.Resource)
		for op, keys := range st.conditions {
			for key, ts := range keys {
				for _, t := range ts {
					vs, err := t.render(values)
					if err != nil {
						return Permissions{}, err
					}
					if out.Condition == nil {
						out.Condition = map[string]map[string][]string{}
					}
					if out.Condition[op] == nil {
						out.Condition[op] = map[string][]string{}
					}
					out.Condition[op][key] = append(out.Condition[op][key], vs...)
				}
				slices.Sort(out.Condition[op][key])
				out.Condition[op][key] = slices.Compact(out.Condition[op][key])
			}
		}
		p.Statements = append(p.Statements, out)
	}
	if len(p.Statements) == 0 {
		return Permissions{}, ErrEmpty
	}
	return Permissions{AWS: &p}, nil
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
	add := func(actions, resources []string) {
		r.actions = append(r.actions, actions...)
		r.resources = append(r.resources, resources...)
	}
	p := r.permissions
	switch {
	case p.AWS != nil:
		for _, s := range p.AWS.Statements {
			add(s.Action, s.Resource)
		}
	case p.VaultRead != "":
		add([]string{"vault:read"}, []string{p.VaultRead})
		r.sensitive = append(r.sensitive, "vault:read "+p.VaultRead+": a dynamic secret")
	default:
		for _, rule := range p.Vault {
			for _, c := range rule.Capabilities {
				add([]string{"vault:" + c}, []string{rule.Path})
				if c == "read" {
					r.sensitive = append(r.sensitive, "vault:read "+rule.Path+": a secret's value")
				}
			}
		}
	}
	for _, list := range []*[]string{&r.actions, &r.resources, &r.sensitive} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}
