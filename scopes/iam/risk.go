package iam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// Risk is how much harm a policy can do. The zero value says nothing; Assess fills it.
type Risk struct {
	Tier    actions.Class // the widest class of an action that the policy allows
	Reasons []Reason      // why it is not lower, the widest first; a plain read has none
	Blast   Blast
	Ways    []Way // known ways from these rights to wider ones
}

// Reason is one rule and the actions that it meets.
type Reason struct {
	Tier      actions.Class
	Rule      string   // "deletes items"
	Actions   []string // as AWS spells them, sorted; the first maxNames
	More      int      // how many further ones there are
	Resources []string // what the policy allows them on, as it says it; "not X" for a NotResource
}

// Blast is how far a policy reaches, in numbers.
type Blast struct {
	Services []string // sorted
	Levels   Levels   // actions of the catalogue by AWS's own level

	Exact       int      // resources without a wildcard
	Patterned   int      // resources with a wildcard or a variable, and complements
	AccountWide bool     // some resource is "*", or everything but something
	Growing     []string // action patterns that take in what AWS adds later; "not X" for a NotAction

	Irreversible   []string // actions that delete, or that nothing undoes; sorted, as are the next two
	SensitiveReads []string // actions that hand out secrets
	Unknown        []string // actions that the catalogue does not have
}

// Levels counts actions.
type Levels struct{ List, Read, Write, Tagging, Permissions int }

// Total is the sum.
func (l Levels) Total() int { return l.List + l.Read + l.Write + l.Tagging + l.Permissions }

// String is the reach in words, one sentence.
func (b Blast) String() string {
	where := fmt.Sprintf("%s and %s", count(b.Exact, "named resource"), count(b.Patterned, "pattern"))
	if b.AccountWide {
		where = "every resource of the account"
	}
	s := fmt.Sprintf("%s (%d list, %d read, %d write, %d tagging, %d permissions) of %s on %s",
		count(b.Levels.Total(), "known action"), b.Levels.List, b.Levels.Read, b.Levels.Write, b.Levels.Tagging,
		b.Levels.Permissions, count(len(b.Services), "service"), where)
	for _, part := range []struct {
		n    int
		text string
	}{
		{len(b.Irreversible), "cannot be undone"}, {len(b.SensitiveReads), "read secrets"}, {len(b.Unknown), "are unknown"},
	} {
		if part.n > 0 {
			s += fmt.Sprintf("; %d %s", part.n, part.text)
		}
	}
	if len(b.Growing) > 0 {
		s += "; and what AWS adds later to " + strings.Join(first(b.Growing, 5), ", ")
	}
	return s
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Assess says how much harm a policy can do. An action counts where some request with it is allowed, whatever the
// resource and the context, so that a Deny takes away what it denies altogether and nothing else. A condition, which a
// caller may be able to meet, lowers nothing.
//
// The class of a wildcard is the widest of the actions that the catalogue has under it; that it grows with AWS is told
// in Blast.Growing. A policy that Validate refuses is ClassAdmin, with the refusal as the rule.
func Assess(p Policy) Risk {
	e, err := Compile([]Policy{p}, nil, nil)
	if err != nil {
		return Risk{Tier: actions.ClassAdmin, Reasons: []Reason{{Tier: actions.ClassAdmin, Rule: err.Error()}}}
	}
	r := &assessment{p: p, e: e, reasons: map[string]*Reason{}, can: map[string]bool{}, steps: budget{left: maxSteps}}
	r.actions()
	r.named()
	r.resources()
	out := r.risk
	for _, reason := range r.reasons {
		out.Tier = max(out.Tier, reason.Tier)
		slices.Sort(reason.Actions)
		reason.More = max(0, len(reason.Actions)-maxNames)
		reason.Actions = first(reason.Actions, maxNames)
		out.Reasons = append(out.Reasons, *reason)
	}
	slices.SortFunc(out.Reasons, func(a, b Reason) int {
		if a.Tier != b.Tier {
			return int(b.Tier) - int(a.Tier)
		}
		return strings.Compare(a.Rule, b.Rule)
	})
	out.Ways = r.ways()
	return out
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }

// assessment collects a Risk.
type assessment struct {
	p       Policy
	e       *Evaluator
	risk    Risk
	reasons map[string]*Reason // by rule
	steps   budget             // once it has ended, every action counts
	can     map[string]bool    // actions of the catalogue that some request is allowed with
}

// actions goes through the catalogue.
func (r *assessment) actions() {
	allowed := map[string]bool{}
	b := &r.risk.Blast
	for _, service := range servicesOf(r.e.statements) {
		before := len(r.can)
		for _, a := range actions.OfService(service) {
			in := newBits(len(r.e.statements))
			for i := range r.e.statements {
				if r.e.statements[i].takes(a.Name) {
					in.set(i)
				}
			}
			key := in.key()
			ok, asked := allowed[key]
			if !asked {
				ok = r.allows(a.Name)
				allowed[key] = ok
			}
			if !ok {
				continue
			}
			r.can[a.Name] = true
			b.count(a)
			r.reason(a.Name)
		}
		if len(r.can) > before {
			b.Services = append(b.Services, service)
		}
	}
}

func (b *Blast) count(a actions.Action) {
	switch a.Level {
	case actions.LevelList:
		b.Levels.List++
	case actions.LevelRead:
		b.Levels.Read++
	case actions.LevelTagging:
		b.Levels.Tagging++
	case actions.LevelPermissions:
		b.Levels.Permissions++
	default:
		b.Levels.Write++
	}
}

// allows tells whether some request with the action is allowed, or may be.
func (r *assessment) allows(action string) bool {
	e := &Evaluator{layers: r.e.layers, context: true}
	for _, s := range r.e.statements {
		if s.takes(action) {
			if !s.deny {
				s.notAction, s.actions = false, []pattern{actionPattern(action)}
			}
			e.statements = append(e.statements, s)
		}
	}
	c := decide(&Evaluator{layers: r.e.layers}, e, limits{plain: true}, &r.steps)
	return c.Answer != Yes
}

// reason notes what an action is, and what it can do.
func (r *assessment) reason(name string) {
	b := &r.risk.Blast
	class, why := actions.Classify(name)
	if class == actions.ClassDestructive {
		b.Irreversible = append(b.Irreversible, name)
	}
	if what, ok := actions.Sensitive(name); ok {
		b.SensitiveReads = append(b.SensitiveReads, name)
		if class == actions.ClassRead {
			why = "reads secrets: " + what
		}
	}
	r.risk.Tier = max(r.risk.Tier, class)
	if why == "" {
		if class <= actions.ClassRead {
			return
		}
		why = "AWS calls it a write"
	}
	rule := r.reasons[why]
	if rule == nil {
		rule = &Reason{Tier: class, Rule: why}
		r.reasons[why] = rule
	}
	rule.Tier = max(rule.Tier, class)
	rule.Actions = append(rule.Actions, name)
	for i, s := range r.e.statements {
		if s.deny || !s.takes(name) {
			continue
		}
		for _, res := range said(r.p.Statements[i].Resource, r.p.Statements[i].NotResource) {
			if !slices.Contains(rule.Resources, res) && len(rule.Resources) < maxNames {
				rule.Resources = append(rule.Resources, res)
			}
		}
	}
}

// said is a list of values, or of what is left out.
func said(yes, no []string) []string {
	out := slices.Clone(yes)
	for _, s := range no {
		out = append(out, "not "+s)
	}
	return out
}

// named looks at what the Allows say and the catalogue does not have.
func (r *assessment) named() {
	b := &r.risk.Blast
	for _, s := range r.p.Statements {
		if s.Effect != Allow {
			continue
		}
		for _, a := range s.Action {
			_, known := actions.Lookup(a)
			switch {
			case known:
			case strings.ContainsAny(a, "*?"):
				b.Growing = append(b.Growing, a)
			case r.allows(a):
				b.Unknown = append(b.Unknown, a)
				r.reason(a)
				if service, _, _ := strings.Cut(a, ":"); !slices.Contains(b.Services, service) {
					b.Services = append(b.Services, service)
				}
			}
		}
		b.Growing = append(b.Growing, said(nil, s.NotAction)...)
	}
	for _, list := range []*[]string{&b.Services, &b.Growing, &b.Unknown, &b.Irreversible, &b.SensitiveReads} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// resources counts what the Allows reach.
func (r *assessment) resources() {
	b := &r.risk.Blast
	exact, patterned := map[string]bool{}, map[string]bool{}
	for i, s := range r.e.statements {
		if s.deny {
			continue
		}
		for _, res := range r.p.Statements[i].NotResource {
			patterned["not "+res], b.AccountWide = true, true
		}
		for j, res := range r.p.Statements[i].Resource {
			p := s.resources[j]
			switch {
			case p.exact:
				exact[res] = true
			case p.prefix && p.head == "":
				b.AccountWide = true
				patterned[res] = true
			default:
				patterned[res] = true
			}
		}
	}
	b.Exact, b.Patterned = len(exact), len(patterned)
}
