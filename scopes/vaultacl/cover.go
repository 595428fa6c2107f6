package vaultacl

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Budget is how many paths Covers and Diff visit before they give up.
const Budget = 200_000

var errBudget = errors.New("over the budget")

// Answer is yes, no, or that neither could be shown. The zero value is Unknown.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	Yes
	No
)

// String returns "unknown", "yes" or "no".
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	case Unknown:
	}
	return "unknown"
}

// Coverage is the answer of Covers.
type Coverage struct {
	Answer Answer
	// Witness, of a No, is a request that Allows confirms: narrow allows it, wide does not.
	Witness *Request
	// Given is what the witness supposes of the caller: the values of the templates, by selector. A selector that is
	// not in it has no value for that caller. Empty where there are no templates.
	Given map[string]string
	// Why, of an Unknown, is the construct or the budget that stopped it.
	Why string
}

// Covers tells whether each request that narrow allows is allowed by wide too. Each is the policies of one token, so
// what one of them denies or limits counts for all. A request is one that can come over the API: the path of a list
// ends in a slash; empty segments are possible. Where a rule gives sudo, a request that needs it is compared too, whether
// or not any engine protects the path.
//
// Templates are taken to be filled for the same caller on both sides, in every way that a caller could have it. An
// entity's or a group's id is a UUID. Other values, such as a name, can be any text with slashes and wildcards of their
// own, so a Yes about them is given only for equal policies.
func Covers(wide, narrow []Policy) Coverage { return CoversWithin(Budget, wide, narrow) }

// CoversWithin is Covers with a budget of its own, in paths.
func CoversWithin(budget int, wide, narrow []Policy) Coverage {
	if samePolicies(wide, narrow) {
		return Coverage{Answer: Yes}
	}
	out, doubt := Coverage{Answer: Yes}, ""
	why, err := compare(budget, wide, narrow, func(c comparison) error {
		f := include(c.wide, c.narrow, c.op)
		switch f.answer {
		case Yes:
		case No:
			out = c.refuted(f.request)
			return errStop
		case Unknown:
			doubt = f.why
		}
		return nil
	})
	switch {
	case errors.Is(err, errStop):
		return out
	case err != nil:
		return Coverage{Why: fmt.Sprintf("more than %d kinds of paths: %v", budget, err)}
	case doubt != "" || why != "":
		return Coverage{Why: cmp.Or(doubt, why)}
	}
	return out
}

// comparison is one operation on one path, and what decides about it on either side.
type comparison struct {
	path         string
	op           Operation
	wide, narrow *merged
	wideACL      *ACL
	narrowACL    *ACL
	given        map[string]string
}

// refuted makes the No of a counterexample, once the evaluator has confirmed it on both sides.
func (c comparison) refuted(r Request) Coverage {
	r.Path = c.path
	if c.narrowACL.Allows(r).Verdict != Allowed || c.wideACL.Allows(r).Verdict == Allowed {
		return Coverage{Why: fmt.Sprintf("a counterexample does not hold, which is an error of this package: %s", r)}
	}
	return Coverage{Answer: No, Witness: &r, Given: c.given}
}

// compare calls f for each operation and each pair of rules that decide about it together, at one path of theirs, for
// every kind of caller. It returns what may be missing, or an error if f gave one or the budget ran out.
func compare(budget int, wide, narrow []Policy, f func(comparison) error) (why string, err error) {
	type pair struct {
		op           Operation
		wide, narrow *merged
	}
	givens, why := callers(wide, narrow)
	ops := Operations()
	for _, given := range givens {
		w, n := Compile(Fill(wide, given)), Compile(Fill(narrow, given))
		seen := map[pair]bool{}
		walk := newWalker(budget, func(path string) error {
			wide, narrow := w.decide(false, path), n.decide(false, path)
			for _, op := range ops {
				p := pair{op, wide, narrow}
				if op == OpList {
					// The server appends the slash to a list that lacks it.
					if !strings.HasSuffix(path, "/") {
						continue
					}
					p = pair{op, w.decide(true, path), n.decide(true, path)}
				}
				if p.narrow == nil || seen[p] {
					continue
				}
				seen[p] = true
				if err := f(comparison{path, op, p.wide, p.narrow, w, n, given}); err != nil {
					return err
				}
			}
			return nil
		}, w, n)
		if err := walk.run(); err != nil {
			return why, err
		}
		budget = walk.budget
	}
	return why, nil
}

// samePolicies tells whether two sets say the same in the same words, whatever they are called.
func samePolicies(a, b []Policy) bool {
	plain := func(set []Policy) []Policy {
		out := make([]Policy, len(set))
		for i, p := range set {
			for _, r := range p.Paths {
				r.Pos, r.Comment = Pos{}, ""
				out[i].Paths = append(out[i].Paths, r)
			}
		}
		return out
	}
	return reflect.DeepEqual(plain(a), plain(b))
}
