package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// Diff tells what the second catalog gives and the first does not, and the reverse, scope by scope. Scopes are held
// together by their names: one that was renamed is removed and added.
func Diff(before, after *scopes.Catalog) Delta {
	d := Delta{Before: before.Version(), After: after.Version(), Scopes: []ScopeDelta{}}
	names := map[string]bool{}
	for _, c := range []*scopes.Catalog{before, after} {
		for _, s := range c.Scopes() {
			names[s.Name()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, _ := before.Scope(name)
		b, _ := after.Scope(name)
		switch {
		case a == nil:
			d.Scopes = append(d.Scopes, whole(after, b, Added))
		case b == nil:
			d.Scopes = append(d.Scopes, whole(before, a, Removed))
		case a.Version() == b.Version():
			d.Same++
		case a.Provider() != b.Provider():
			gone, come := whole(before, a, Removed), whole(after, b, Added)
			come.Status, come.Before, come.Lost = Changed, a.Tier(), gone.Lost
			d.Scopes = append(d.Scopes, come)
		default:
			d.Scopes = append(d.Scopes, compare(before, after, a, b))
		}
	}
	for i := range d.Scopes {
		s := &d.Scopes[i]
		s.Gained, s.Lost = append([]Change{}, s.Gained...), append([]Change{}, s.Lost...)
	}
	return d
}

// compare tells one scope of both from the other, for every enforcer that both could have.
func compare(before, after *scopes.Catalog, a, b *scopes.Scope) ScopeDelta {
	dialects := slices.DeleteFunc(dialectsOf(b), func(d iam.Dialect) bool { return !slices.Contains(dialectsOf(a), d) })
	if len(dialects) == 0 {
		p := pair{before: before, after: after, a: a, b: b}
		p.begin()
		p.note("no server could enforce it before and after")
		p.apart()
		return p.out
	}
	var out ScopeDelta
	for i, d := range dialects {
		p := pair{before: before, after: after, a: a, b: b, dialect: d}
		if found := p.compare(); i == 0 {
			out = found
		} else {
			out.Gained, out.Lost = more(out.Gained, found.Gained, d), more(out.Lost, found.Lost, d)
		}
	}
	return out
}

// more adds the changes that one more dialect shows.
func more(have, found []Change, d iam.Dialect) []Change {
	for _, c := range found {
		if !slices.ContainsFunc(have, func(h Change) bool { return h.Kind == c.Kind && h.What == c.What }) {
			c.What += fmt.Sprintf(" (as %s reads it)", d)
			have = append(have, c)
		}
	}
	sorted(have)
	return have
}

// dialectsOf are by whom the scope could be enforced; the empty one stands for Vault.
func dialectsOf(s *scopes.Scope) []iam.Dialect {
	if s.Provider() != scopes.ProviderAWS {
		return []iam.Dialect{""}
	}
	return s.Dialects()
}

// whole is a scope that only one side has.
func whole(c *scopes.Catalog, s *scopes.Scope, status Status) ScopeDelta {
	out := ScopeDelta{Scope: s.Name(), Status: status, Description: s.Description()}
	var changes []Change
	v, r, err := example(c, s)
	if err == nil {
		perms := r.Permissions()
		_, changes, err = comparePermissions(&perms, nil)
	}
	if err != nil {
		changes = []Change{{Kind: KindPermission, Tier: s.Tier(), What: "what it gives", Why: err.Error()}}
	}
	for i := range changes {
		changes[i].Given = v.text()
	}
	sorted(changes)
	if status == Added {
		out.After, out.Gained = s.Tier(), changes
	} else {
		out.Before, out.Lost = s.Tier(), changes
	}
	return out
}

// example resolves a scope with values that stand in for its parameters.
func example(c *scopes.Catalog, s *scopes.Scope) (valuation, scopes.Request, error) {
	candidates, err := candidatesOf(s, nil)
	if err != nil {
		return nil, scopes.Request{}, err
	}
	var r scopes.Request
	for _, v := range valuations(candidates, count(candidates)) { // an ARN may be one that no action of the scope takes
		if r, err = c.Resolve(v.query(s.Name(), dialectsOf(s)[0])); err == nil {
			return v, r, nil
		}
	}
	return nil, scopes.Request{}, err
}

// candidatesOf returns values for each parameter but those that are left out.
func candidatesOf(s *scopes.Scope, without map[string]bool) (map[string][]string, error) {
	out := map[string][]string{}
	for i, p := range s.Params() {
		if without[p.Name] {
			continue
		}
		if out[p.Name] = accepted(s, p.Name, samples(p, i)); len(out[p.Name]) == 0 {
			return nil, fmt.Errorf("no example of a value for parameter %q was found", p.Name)
		}
	}
	return out, nil
}

// sorted puts the widest tier first, and otherwise keeps the order.
func sorted(changes []Change) {
	slices.SortStableFunc(changes, func(x, y Change) int { return cmp.Compare(y.Tier, x.Tier) })
}
