package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// Risk is how much harm a policy can do. The zero value says nothing; Assess fills it.
type Risk struct {
	Tier    actions.Class `json:"tier"`    // the widest class of an action that the policy allows
	Reasons []Reason      `json:"reasons"` // why it is not lower, the widest first; a plain read has none
	Blast   Blast         `json:"reach"`
	Ways    []Way         `json:"ways"` // from these rights to wider ones
}

// Reason is one rule and the actions that it meets.
type Reason struct {
	Tier      actions.Class `json:"tier"`
	Rule      string        `json:"rule"`           // "deletes items"
	Actions   []string      `json:"actions"`        // as AWS spells them, sorted; the first maxNames
	More      int           `json:"more,omitempty"` // how many further ones there are
	Resources []string      `json:"resources"`      // what the policy allows them on, as it says it; "not X" for a NotResource
}

// Blast is how far a policy reaches, in numbers.
type Blast struct {
	Services []string `json:"services"` // sorted
	Levels            // actions of the catalogue by AWS's own level

	Exact       int      `json:"exact_resources"`   // resources without a wildcard
	Patterned   int      `json:"resource_patterns"` // resources with a wildcard or a variable, and complements
	AccountWide bool     `json:"account_wide"`      // some resource is "*", or everything but something
	Growing     []string `json:"growing"`           // action patterns that take in what AWS adds later; "not X" for a NotAction

	Irreversible   []string `json:"irreversible"`    // actions that nothing undoes; sorted, as are the next two
	SensitiveReads []string `json:"sensitive_reads"` // actions that hand out secrets
	Unknown        []string `json:"unknown"`         // actions that the catalogue does not have
}

// MarshalJSON adds the reach in words, as "text". No list is null.
func (b Blast) MarshalJSON() ([]byte, error) {
	type numbers Blast
	for _, list := range []*[]string{&b.Services, &b.Growing, &b.Irreversible, &b.SensitiveReads, &b.Unknown} {
		if *list == nil {
			*list = []string{}
		}
	}
	return json.Marshal(struct {
		Text string `json:"text"`
		numbers
	}{b.String(), numbers(b)})
}

// Levels counts actions.
type Levels struct {
	List        int `json:"list"`
	Read        int `json:"read"`
	Write       int `json:"write"`
	Tagging     int `json:"tagging"`
	Permissions int `json:"permissions"`
}

// Total is the sum.
func (l Levels) Total() int { return l.List + l.Read + l.Write + l.Tagging + l.Permissions }

// String is the reach in words, one sentence.
func (b Blast) String() string {
	where := fmt.Sprintf("%s and %s", count(b.Exact, "named resource"), count(b.Patterned, "pattern"))
	if b.AccountWide {
		where = "every resource of the account"
	}
	s := fmt.Sprintf("%s (%d list, %d read, %d write, %d tagging, %d permissions) of %s on %s",
		count(b.Total(), "known action"), b.List, b.Read, b.Write, b.Tagging,
		b.Permissions, count(len(b.Services), "service"), where)
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
func Assess(d Dialect, p Policy) Risk {
	e, err := Compile(d, []Policy{p}, nil, nil)
	if err != nil {
		why := Reason{Tier: actions.ClassAdmin, Rule: err.Error(), Actions: []string{}, Resources: []string{}}
		return Risk{Tier: actions.ClassAdmin, Reasons: []Reason{why}, Ways: []Way{}}
	}
	r := &assessment{p: p, e: e, takers: newTakers(e.statements), reasons: map[ruleKey]*Reason{}, gains: map[string][]string{}, roles: map[string][]string{},
		can: map[string]bool{}, allowed: map[string]bool{}, steps: budget{left: maxSteps, deadline: within(maxTime, nil)}}
	for _, s := range p.Statements {
		r.said = append(r.said, said(s.Resource, s.NotResource))
	}
	r.actions()
	r.named()
	r.resources()
	out := r.risk
	out.Reasons = []Reason{}
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

// ruleKey tells one reason from another: actions of two classes can share the words.
type ruleKey struct {
	tier actions.Class
	rule string
}

// assessment collects a Risk.
type assessment struct {
	p       Policy
	e       *Evaluator
	takers  *takers    // of e
	said    [][]string // by statement, its resources
	risk    Risk
	reasons map[ruleKey]*Reason
	gains   map[string][]string // by reason: allowed actions that lead to wider rights
	roles   map[string][]string // by reason: allowed actions that take a role
	steps   budget              // once it has ended, every action counts
	can     map[string]bool     // actions of the catalogue that some request is allowed with
	allowed map[string]bool     // what allows has found, by the statements that take the action
}

// actions goes through the catalogue.
func (r *assessment) actions() {
	b := &r.risk.Blast
	for _, service := range servicesOf(r.e.statements) {
		before := len(r.can)
		for _, a := range actions.OfService(service) {
			if !r.allows(a.Name) {
				continue
			}
			r.can[a.Name] = true
			b.count(a)
			class, why := a.Class()
			r.leads(a, why)
			r.reason(a, class, why)
		}
		if len(r.can) > before {
			b.Services = append(b.Services, service)
		}
	}
}

func (b *Blast) count(a actions.Action) {
	switch a.Level {
	case actions.LevelList:
		b.List++
	case actions.LevelRead:
		b.Read++
	case actions.LevelTagging:
		b.Tagging++
	case actions.LevelPermissions:
		b.Permissions++
	default:
		b.Write++
	}
}

// allows tells whether some request with the action is allowed, or may be. That is the same for all actions that the same
// statements take.
func (r *assessment) allows(action string) bool {
	in := r.takers.of(action)
	var room [8 * 8]byte // for as many statements as most policies have
	key := in.appendKey(room[:0])
	if ok, asked := r.allowed[string(key)]; asked {
		return ok
	}
	e := &Evaluator{semantics: r.e.semantics, layers: r.e.layers, context: true}
	only := []pattern{actionPattern(action)}
	for i := range r.e.statements {
		if in.has(i) {
			s := r.e.statements[i]
			if !s.deny {
				s.notAction, s.actions = false, only
			}
			e.statements = append(e.statements, s)
		}
	}
	c := decide(&Evaluator{semantics: r.e.semantics, layers: r.e.layers}, e, limits{plain: true}, &r.steps)
	r.allowed[string(key)] = c.Answer != Yes
	return c.Answer != Yes
}

// reason notes what an action is, and what it can do. One that the catalogue does not have has its name alone.
func (r *assessment) reason(a actions.Action, class actions.Class, why string) {
	b, name := &r.risk.Blast, a.Name
	if a.Irreversible() {
		b.Irreversible = append(b.Irreversible, name)
	}
	if _, ok := a.Sensitive(); ok {
		b.SensitiveReads = append(b.SensitiveReads, name)
	}
	r.risk.Tier = max(r.risk.Tier, class)
	if why == "" {
		return
	}
	key := ruleKey{class, why}
	rule := r.reasons[key]
	if rule == nil {
		rule = &Reason{Tier: class, Rule: why, Resources: []string{}}
		r.reasons[key] = rule
	}
	rule.Actions = append(rule.Actions, name)
	in := r.takers.of(name)
	for i := range r.e.statements {
		if r.e.statements[i].deny || !in.has(i) {
			continue
		}
		for _, res := range r.said[i] {
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
				if r.grows(a) {
					b.Growing = append(b.Growing, a)
				}
			case r.allows(a):
				b.Unknown = append(b.Unknown, a)
				class, why := actions.Classify(a)
				r.reason(actions.Action{Name: a}, class, why)
				if service, _, _ := strings.Cut(a, ":"); !slices.Contains(b.Services, service) {
					b.Services = append(b.Services, service)
				}
			}
		}
		if len(s.NotAction) > 0 && r.grows("*") {
			b.Growing = append(b.Growing, said(nil, s.NotAction)...)
		}
	}
	for _, list := range []*[]string{&b.Services, &b.Growing, &b.Unknown, &b.Irreversible, &b.SensitiveReads} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// grows tells whether an action that AWS has yet to add under a pattern would be allowed: it asks about a name that
// nobody has, in the pattern's service, or for "*" in each one until one is allowed.
func (r *assessment) grows(pattern string) bool {
	const fresh = "ValetkeyFresh"
	if service, name, ok := strings.Cut(pattern, ":"); ok {
		return r.allows(service + ":" + strings.ReplaceAll(strings.ReplaceAll(name, "*", fresh), "?", "x"))
	}
	return slices.ContainsFunc(append([]string{"valetkey-fresh"}, actions.Services()...), func(service string) bool {
		return r.allows(service + ":" + fresh)
	})
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
