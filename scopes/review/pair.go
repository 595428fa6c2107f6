package review

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// pair is one scope in two catalogs.
type pair struct {
	before, after *scopes.Catalog
	a, b          *scopes.Scope
	dialect       iam.Dialect       // empty for Vault
	names         map[string]string // the parameter of b -> that of a which it continues
	out           ScopeDelta
}

func (p *pair) begin() {
	p.out = ScopeDelta{
		Scope: p.b.Name(), Status: Changed, Before: p.a.Tier(), After: p.b.Tier(), Description: p.b.Description(),
	}
}

func (p *pair) compare() ScopeDelta {
	p.begin()
	p.match()
	p.permissions()
	p.parameters()
	p.limits()
	if p.a.Description() != p.b.Description() {
		p.note("the description was: %s", p.a.Description())
	}
	sorted(p.out.Gained)
	sorted(p.out.Lost)
	return p.out
}

func (p *pair) note(format string, args ...any) {
	p.out.Notes = append(p.out.Notes, fmt.Sprintf(format, args...))
}

// gain and lose take a change that is not of single permissions.
func (p *pair) gain(c Change) {
	c.Tier = p.b.Tier()
	p.out.Gained = append(p.out.Gained, c)
}

func (p *pair) lose(c Change) {
	c.Tier, c.Known = p.a.Tier(), true
	p.out.Lost = append(p.out.Lost, c)
}

// match holds parameters together by name, and two that are left over and alone of their type by that.
func (p *pair) match() {
	p.names = map[string]string{}
	only := func(s, other *scopes.Scope) map[scopes.ParamType][]string {
		out := map[scopes.ParamType][]string{}
		for _, q := range s.Params() {
			if _, ok := param(other, q.Name); !ok {
				out[q.Type] = append(out[q.Type], q.Name)
			}
		}
		return out
	}
	gone, come := only(p.a, p.b), only(p.b, p.a)
	for _, q := range p.b.Params() {
		if _, ok := param(p.a, q.Name); ok {
			p.names[q.Name] = q.Name
		} else if len(gone[q.Type]) == 1 && len(come[q.Type]) == 1 {
			p.names[q.Name] = gone[q.Type][0]
			p.note("parameter %s is now called %s", gone[q.Type][0], q.Name)
		}
	}
}

func param(s *scopes.Scope, name string) (scopes.Param, bool) {
	for _, p := range s.Params() {
		if p.Name == name {
			return p, true
		}
	}
	return scopes.Param{}, false
}

// permissions compares what the same values give. A parameter that only one side has takes any of its values there: a
// request that one side answers as the other does, with some value, is no difference.
func (p *pair) permissions() {
	shared := map[string][]string{} // by b's names
	extraA, extraB := map[string]bool{}, map[string]bool{}
	for _, q := range p.a.Params() {
		extraA[q.Name] = true
	}
	for i, q := range p.b.Params() {
		old, ok := p.names[q.Name]
		if !ok {
			extraB[q.Name] = true
			continue
		}
		delete(extraA, old)
		was, _ := param(p.a, old)
		values := accepted(p.a, old, accepted(p.b, q.Name, slices.Concat(samples(q, i), samples(was, i))))
		if values = unique(values); len(values) == 0 {
			p.note("no value of parameter %s is taken before and after, so that no request is the same", q.Name)
			p.apart()
			return
		}
		shared[q.Name] = values
	}
	freeA, errA := candidatesOf(p.a, negate(p.a, extraA))
	freeB, errB := candidatesOf(p.b, negate(p.b, extraB))
	if errA != nil || errB != nil {
		p.unknown(fmt.Sprint(errA, errB))
		return
	}
	p.sweep(shared, freeA, freeB)
}

// unique drops what came before, and keeps the order.
func unique(values []string) []string {
	var out []string
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// negate returns the scope's parameters that are not in the set.
func negate(s *scopes.Scope, set map[string]bool) map[string]bool {
	out := map[string]bool{}
	for _, q := range s.Params() {
		out[q.Name] = !set[q.Name]
	}
	return out
}

func (p *pair) unknown(why string) {
	c := Change{Kind: KindPermission, What: "what it gives", Why: why}
	p.gain(c)
}

// apart tells all that either gives, where no request can be asked of both.
func (p *pair) apart() {
	p.out.Gained = append(p.out.Gained, whole(p.after, p.b, Added).Gained...)
	p.out.Lost = append(p.out.Lost, whole(p.before, p.a, Removed).Lost...)
}

// sweep asks both sides at some values of the shared parameters.
func (p *pair) sweep(shared, freeA, freeB map[string][]string) {
	seenGain, seenLoss := map[string]bool{}, map[string]bool{}
	compared, why := 0, ""
	for _, v := range valuations(shared, count(shared)) {
		old := valuation{}
		for name, value := range v {
			old[p.names[name]] = value
		}
		as, errA := resolve(p.before, p.a.Name(), p.dialect, old, freeA)
		bs, errB := resolve(p.after, p.b.Name(), p.dialect, v, freeB)
		if len(as) == 0 && len(bs) == 0 {
			why = strings.TrimSpace(fmt.Sprintln(errA, errB))
			continue
		}
		compared++
		gained, lost := p.cross(as, bs)
		collect(bs, gained, &p.out.Gained, seenGain)
		collect(as, lost, &p.out.Lost, seenLoss)
	}
	if compared == 0 {
		p.unknown("no request was found that either takes: " + why)
	}
}

// cross compares every answer of one side with every answer of the other. For each answer of a side it returns what that
// has over the nearest answer of the other; over nothing, where the other refuses the request.
func (p *pair) cross(as, bs []resolved) (gained, lost [][]Change) {
	gained, lost = make([][]Change, len(bs)), make([][]Change, len(as))
	each := func(list []resolved, f func(i int, perms *scopes.Permissions)) {
		if len(list) == 0 {
			f(-1, nil)
		}
		for i := range list {
			f(i, &list[i].perms)
		}
	}
	nearer := func(at []Change, more []Change, first bool) []Change {
		if first || len(more) < len(at) {
			return more
		}
		return at
	}
	each(as, func(i int, before *scopes.Permissions) {
		each(bs, func(j int, after *scopes.Permissions) {
			more, less, err := comparePermissions(before, after)
			if err != nil {
				doubt := []Change{{Kind: KindPermission, Tier: max(p.a.Tier(), p.b.Tier()), What: "what it gives", Why: err.Error()}}
				more, less = doubt, doubt
			}
			if j >= 0 {
				gained[j] = nearer(gained[j], more, i <= 0)
			}
			if i >= 0 {
				lost[i] = nearer(lost[i], less, j <= 0)
			}
		})
	})
	return gained, lost
}

// collect adds the changes of some answers, each once whatever the values it was found at.
func collect(answers []resolved, changes [][]Change, into *[]Change, seen map[string]bool) {
	for i, x := range answers {
		for _, c := range changes[i] {
			c.Given = x.at.text()
			if key := abstract(c, x.at); !seen[key] {
				seen[key] = true
				*into = append(*into, c)
			}
		}
	}
}

// abstract is the change without the values it was found at.
func abstract(c Change, at valuation) string {
	key := c.What
	for _, name := range slices.Sorted(maps.Keys(at)) {
		key = replaceWord(key, strings.TrimSuffix(at[name], "/"), "{"+name+"}")
	}
	return key
}

// replaceWord replaces a value where it is no part of a longer word.
func replaceWord(text, value, by string) string {
	var b strings.Builder
	inner := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] >= 'A' && text[i] <= 'Z' || text[i] >= 'a' && text[i] <= 'z')
	}
	for i := 0; i < len(text); {
		if end := i + len(value); value != "" && strings.HasPrefix(text[i:], value) && !inner(i-1) && !inner(end) {
			b.WriteString(by)
			i = end
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// resolved is what some values give.
type resolved struct {
	at    valuation
	perms scopes.Permissions
}

// resolve asks a scope at fixed values, and at some values of what is left free.
func resolve(c *scopes.Catalog, scope string, d iam.Dialect, fixed valuation, free map[string][]string) ([]resolved, error) {
	var out []resolved
	var last error
	for _, v := range valuations(free, count(free)) {
		for name, value := range fixed {
			v[name] = value
		}
		r, err := c.Resolve(v.query(scope, d))
		if err != nil {
			last = err
			continue
		}
		out = append(out, resolved{v, r.Permissions()})
	}
	return out, last
}

// count is how many valuations use every candidate, at most maxSamples of them.
func count(candidates map[string][]string) int {
	n := 1
	for _, values := range candidates {
		n = max(n, len(values))
	}
	return min(n, maxSamples)
}
