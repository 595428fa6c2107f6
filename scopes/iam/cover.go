package iam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/verdict"
)

// Answer is what Covers says. The zero value is Unknown.
type Answer = verdict.Answer

// The answers.
const (
	Unknown = verdict.Unknown // it could not be told; Coverage.Why names what stopped it
	Yes     = verdict.Yes     // every request that b allows, a allows
	No      = verdict.No      // the witness is a request that b allows and a does not
)

// Coverage is an answer and its evidence.
type Coverage struct {
	Answer  Answer   `json:"answer"`
	Witness *Request `json:"witness,omitempty"` // for No: Allows says that b allows it and a does not
	Why     string   `json:"why,omitempty"`     // for Unknown: the construct or the limit that stopped the search
}

// The bounds of one Covers: steps, about a second on one core, and time.
const (
	maxSteps = 20_000_000
	maxTime  = 10 * time.Second
)

// Covers tells whether everything that b allows is allowed by a. Each is a set of identity policies: it allows what
// some Allow in it matches and no Deny in it.
//
// The requests are all that Allows takes: any action "service:Name", whether the catalogue has it or not, so that what
// AWS adds later to a wildcard counts; "*" or any ARN; any context; all of it UTF-8. Keys of the context are independent of each other and
// of the resource: a No can rest on a request that AWS never makes (an aws:PrincipalArn of one account with an
// aws:PrincipalAccount of another). A key that the catalogue calls an array has any number of values, any
// other key one at most.
//
// What AWS's pages leave open is a doubt: where a does not allow for sure what b may allow, the answer is not Yes. One
// text is taken in the same way on both sides, so that a policy covers itself.
//
// Patterns, complements, explicit Denies and every condition operator are decided exactly. A condition or a resource
// with a policy variable is a free truth value, the same wherever the same text stands; a No that needs one to be true
// is Unknown, unless some value can be shown. So is one that needs a key that is compared both as text with wildcards
// and as a number, a date or an address.
//
// The cost is the number of states of the product of the patterns' automata, of the actions once and of the resources
// for each set of statements that some action tells apart, times the search over conditions there. It grows with the
// total length of the patterns where stars stand at their ends, and exponentially at worst; after 20 million steps, or
// ten seconds, the answer is Unknown. The error says which policy Validate refuses.
func Covers(d Dialect, a, b []Policy) (Coverage, error) {
	return covers(d, a, b, limits{steps: maxSteps, time: maxTime})
}

// limits is how hard covers tries.
type limits struct {
	steps int
	time  time.Duration
	now   func() time.Time // nil is the system's clock
	plain bool             // leave a witness as short as it was found
}

func covers(d Dialect, a, b []Policy, l limits) (Coverage, error) {
	ea, err := Compile(d, a, nil, nil)
	if err != nil {
		return Coverage{}, fmt.Errorf("comparing the covering policies: %w", err)
	}
	eb, err := Compile(d, b, nil, nil)
	if err != nil {
		return Coverage{}, fmt.Errorf("comparing the covered policies: %w", err)
	}
	return decide(ea, eb, l, &budget{left: l.steps, deadline: within(l.time, l.now)}), nil
}

// decide is covers for compiled policies. It takes its steps from the budget.
func decide(a, b *Evaluator, l limits, steps *budget) Coverage {
	m := newModel(relevant(a, b), relevant(b, b), steps)
	m.evaluators = [2]*Evaluator{sideA: a, sideB: b} // a witness is asked of the whole
	x := newExplorer(m)
	done := x.run()
	if x.witness == nil && x.doubt != "" {
		x = m.instance(l.steps, x)
	}
	if x.witness != nil && !l.plain {
		x.explain(x.witness)
	}
	switch {
	case x.witness != nil:
		return Coverage{Answer: No, Witness: x.witness}
	case m.budget.spent():
		return Coverage{Why: m.budget.why(l.steps)}
	case x.doubt != "":
		return Coverage{Why: x.doubt}
	case !done:
		return Coverage{Why: "the search ended early"}
	}
	return Coverage{Answer: Yes}
}

// manyActions is from how many patterns of actions on it pays to look which of them matter.
const manyActions = 64

// relevant returns the evaluator without the actions that b allows nothing of, which a search for what b allows would
// only carry along: those of other services, and single ones that none of b's patterns takes. A policy that lists a
// thousand actions is compared with a few at the cost of a few.
func relevant(a, b *Evaluator) *Evaluator {
	total, denies := 0, false
	for i := range a.statements {
		total += len(a.statements[i].actions)
		denies = denies || a.statements[i].deny
	}
	if total < manyActions || (a == b && !denies) {
		return a
	}
	services, exact := map[string]bool{}, map[string]bool{}
	var wild []*pattern
	for i := range b.statements {
		s := &b.statements[i]
		if s.deny {
			continue
		}
		if s.notAction {
			return a
		}
		for j := range s.actions {
			p := &s.actions[j]
			service, ok := p.service()
			if !ok {
				return a // everything
			}
			services[service] = true
			if p.exact {
				exact[p.head] = true
			} else {
				wild = append(wild, p)
			}
		}
	}
	matters := func(p *pattern) bool {
		service, ok := p.service()
		switch {
		case !ok:
			return true
		case !services[service]:
			return false
		case !p.exact || exact[p.head]:
			return true
		}
		return slices.ContainsFunc(wild, func(w *pattern) bool { return w.takes(p.head) })
	}
	out := &Evaluator{semantics: a.semantics, layers: a.layers, context: a.context, statements: make([]statement, 0, len(a.statements))}
	for _, s := range a.statements {
		kept := make([]pattern, 0, min(len(s.actions), manyActions))
		for i := range s.actions {
			if matters(&s.actions[i]) {
				kept = append(kept, s.actions[i])
			}
		}
		if s.actions = kept; len(kept) > 0 || s.notAction {
			out.statements = append(out.statements, s)
		}
	}
	return out
}

// service returns the service of a pattern of actions, in lower case, and false for "*", which has none.
func (p *pattern) service() (string, bool) {
	service, _, ok := strings.Cut(p.tokens[0].text, ":")
	return service, ok
}
