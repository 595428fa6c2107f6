package scopes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// bound is one statement of a scope's ceiling, ready to hold a compiled statement against.
type bound struct {
	actions    []string
	resources  [][]mark
	texts      []string // resources, as they are written
	conditions []boundCondition
}

type boundCondition struct {
	op, key  string
	values   []string
	patterns [][]mark // of values, where op takes patterns
	as       reading  // of values, where there are patterns
}

func bounds(ceiling iam.Policy) []bound {
	out := make([]bound, 0, len(ceiling.Statements))
	for _, s := range ceiling.Statements {
		b := bound{actions: s.Action, texts: s.Resource}
		for _, r := range s.Resource {
			b.resources = append(b.resources, marks(nil, r, readResource, true))
		}
		for op, keys := range s.Condition {
			for key, values := range keys {
				c := boundCondition{op: op, key: key, values: values}
				switch base := bare(op); base {
				case "StringLike":
					c.as = readLike
				case "ArnLike", "ArnEquals":
					c.as = readARN
				}
				if c.as != readText {
					for _, v := range values {
						c.patterns = append(c.patterns, marks(nil, v, c.as, true))
					}
				}
				b.conditions = append(b.conditions, c)
			}
		}
		out = append(out, b)
	}
	return out
}

// bare returns an operator without its quantifier and its IfExists.
func bare(op string) string {
	if i := strings.IndexByte(op, ':'); i >= 0 {
		op = op[i+1:]
	}
	return strings.TrimSuffix(op, "IfExists")
}

// within tells whether a compiled policy is proven to allow no more than the ceiling, statement by statement: the same
// actions, each resource in one of the ceiling's, and conditions that hold only where the ceiling's do. A yes is right for
// the dialect; a no means that it takes a closer look.
func within(d iam.Dialect, ceiling []bound, p iam.Policy) bool {
	if p.Version != iam.Version || len(p.Statements) != len(ceiling) {
		return false
	}
	for i := range p.Statements {
		if !ceiling[i].holds(d, &p.Statements[i]) {
			return false
		}
	}
	return true
}

func (b *bound) holds(d iam.Dialect, s *iam.Statement) bool {
	if s.Effect != iam.Allow || len(s.NotAction) > 0 || len(s.NotResource) > 0 || s.Principal != nil || s.NotPrincipal != nil ||
		len(s.Resource) == 0 || !slices.Equal(s.Action, b.actions) {
		return false
	}
	for _, r := range s.Resource {
		if !includedIn(b.resources, r, readResource) {
			return false
		}
		// To MinIO a resource takes itself with a "/" after it too.
		if d == iam.DialectMinIO && !slices.Contains(b.texts, r) && !includedIn(b.resources, r+"/", readResource) {
			return false
		}
	}
	for i := range b.conditions {
		if !b.conditions[i].follows(s.Condition) {
			return false
		}
	}
	return true
}

// follows tells whether the condition is proven to hold wherever the others do: one with its own operator is as narrow,
// or one without patterns where it has some, or any that needs the key where it asks for no more.
func (c *boundCondition) follows(from map[string]map[string][]string) bool {
	if c.narrower(from[c.op][c.key]) {
		return true
	}
	switch {
	case bare(c.op) == "StringLike":
		values := from[strings.Replace(c.op, "StringLike", "StringEquals", 1)][c.key]
		return len(values) > 0 && c.takes(values, readText)
	case c.op != presence || !slices.Equal(c.values, []string{"false"}):
		return false
	}
	for op, keys := range from {
		if len(keys[c.key]) == 0 || op == presence || strings.HasSuffix(op, "IfExists") || strings.HasPrefix(op, "ForAllValues:") {
			continue
		}
		if _, negated, err := iam.ParseOperator(op); err == nil && !negated {
			return true // a condition that a missing key cannot meet
		}
	}
	return false
}

// narrower tells whether the values make a condition that is proven to hold only where this one does, with its operator.
func (c *boundCondition) narrower(values []string) bool {
	if len(values) == 0 {
		return false
	}
	if slices.Equal(values, c.values) {
		return true
	}
	if _, negated, err := iam.ParseOperator(c.op); err != nil || negated || bare(c.op) == presence {
		return false
	}
	if c.patterns == nil {
		return !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(c.values, v) })
	}
	return c.takes(values, c.as)
}

// takes tells whether each of the values is proven to lie in some pattern of the condition.
func (c *boundCondition) takes(values []string, as reading) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !includedIn(c.patterns, v, as) })
}

// prove holds compiled permissions against the scope's ceiling. Its errors are ErrUnproven.
func (s *Scope) prove(p Permissions) error {
	if p.AWS != nil {
		if s.provider != ProviderAWS {
			return fmt.Errorf("%w: an AWS policy of a scope for %s", ErrUnproven, s.provider)
		}
		e := s.enforced[p.Dialect]
		switch {
		case e == nil:
			return fmt.Errorf("%w: for dialect %q", ErrUnproven, p.Dialect)
		case within(p.Dialect, e.bounds, *p.AWS):
			return nil
		}
		return proveAWS(p.Dialect, e.ceiling, *p.AWS)
	}
	rules := p.Vault
	if p.VaultRead != "" {
		rules = []vaultacl.Rule{{Path: p.VaultRead, Capabilities: []string{"read"}}}
	}
	if s.provider != ProviderVault || len(rules) == 0 {
		return fmt.Errorf("%w: nothing to prove", ErrUnproven)
	}
	c := vaultacl.Covers(s.ceilingVault, []vaultacl.Policy{vaultacl.FromRules("request", rules)})
	switch {
	case c.Answer == vaultacl.Yes:
		return nil
	case c.Witness != nil:
		return fmt.Errorf("%w: it would allow %s", ErrUnproven, c.Witness)
	}
	return fmt.Errorf("%w: %s", ErrUnproven, c.Why)
}

func proveAWS(d iam.Dialect, ceiling, p iam.Policy) error {
	c, err := iam.Covers(d, []iam.Policy{ceiling}, []iam.Policy{p})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	case c.Answer == iam.Yes:
		return nil
	case c.Witness != nil:
		return fmt.Errorf("%w: it would allow %s", ErrUnproven, c.Witness)
	}
	return fmt.Errorf("%w: %s", ErrUnproven, c.Why)
}

// provePossible is prove for a policy that iam.Shrink has merged by the catalogue: of its pairs of an action and a
// resource, those that no request has, by the catalogue, need no proof. The catalogue is AWS's, and so is such a merge.
func (s *Scope) provePossible(d iam.Dialect, p iam.Policy) error {
	if d != iam.DialectAWS {
		return proveAWS(d, s.enforced[d].ceiling, p)
	}
	possible := iam.Policy{Version: p.Version}
	for _, st := range p.Statements {
		for _, name := range st.Action {
			one := st
			one.Action, one.Resource = []string{name}, nil
			a, known := actions.Lookup(name)
			for _, r := range st.Resource {
				if !known || r == "*" || a.Takes(wild(r)) {
					one.Resource = append(one.Resource, r)
				}
			}
			if len(one.Resource) > 0 {
				possible.Statements = append(possible.Statements, one)
			}
		}
	}
	return proveAWS(d, s.enforced[d].ceiling, possible)
}
