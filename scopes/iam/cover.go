package iam

import (
	"fmt"
)

// Answer is what Covers says. The zero value is Unknown.
type Answer int

// The answers.
const (
	Unknown Answer = iota // it could not be told; Coverage.Why names what stopped it
	Yes                   // every request that b allows, a allows
	No                    // the witness is a request that b allows and a does not
)

// String returns "unknown", "yes" or "no".
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// Coverage is an answer and its evidence.
type Coverage struct {
	Answer  Answer
	Witness *Request // for No: Allows says that b allows it and a does not
	Why     string   // for Unknown: the construct or the limit that stopped the search
}

// maxSteps bounds one Covers: about a second on one core.
const maxSteps = 20_000_000

// Covers tells whether everything that b allows is allowed by a. Each is a set of identity policies: it allows what
// some Allow in it matches and no Deny in it.
//
// The requests are all that Allows takes: any action "service:Name", whether the catalogue has it or not, so that what
// AWS adds later to a wildcard counts; any resource; any context; all of it UTF-8. Keys of the context are independent of each other and
// of the resource: a No can rest on a request that AWS never makes (an aws:PrincipalArn of one account with an
// aws:PrincipalAccount of another). A key that AWS's page calls single-valued has one value at most; any other key has
// any number.
//
// Patterns, complements, explicit Denies and every condition operator are decided exactly. A condition or a resource
// with a policy variable is a free truth value, the same wherever the same text stands; a No that needs one to be true
// is Unknown, unless some value can be shown. So is one that needs a key that is compared both as text with wildcards
// and as a number, a date or an address.
//
// The cost is the number of states of the product of the patterns' automata, of the actions once and of the resources
// for each set of statements that some action tells apart, times the search over conditions there. It grows with the
// total length of the patterns where stars stand at their ends, and exponentially at worst; after 20 million steps the
// answer is Unknown. The error says which policy Validate refuses.
func Covers(a, b []Policy) (Coverage, error) {
	return covers(a, b, limits{steps: maxSteps})
}

// limits is how hard covers tries.
type limits struct {
	steps int
	plain bool // leave a witness as short as it was found
}

func covers(a, b []Policy, l limits) (Coverage, error) {
	ea, err := Compile(a, nil, nil)
	if err != nil {
		return Coverage{}, fmt.Errorf("comparing the covering policies: %w", err)
	}
	eb, err := Compile(b, nil, nil)
	if err != nil {
		return Coverage{}, fmt.Errorf("comparing the covered policies: %w", err)
	}
	return decide(ea, eb, l, &budget{left: l.steps}), nil
}

// decide is covers for compiled policies. It takes its steps from the budget.
func decide(a, b *Evaluator, l limits, steps *budget) Coverage {
	m := newModel(a, b, steps)
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
		return Coverage{Why: fmt.Sprintf("the search took more than %d steps", l.steps)}
	case x.doubt != "":
		return Coverage{Why: x.doubt}
	case !done:
		return Coverage{Why: "the search ended early"}
	}
	return Coverage{Answer: Yes}
}
