package vaultacl

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/verdict"
)

// Budget is how many paths Covers and Diff visit before they give up.
const Budget = 200_000

var errBudget = errors.New("over the budget")

// Answer is yes, no, or that neither could be shown. The zero value is Unknown.
type Answer = verdict.Answer

// The answers.
const (
	Unknown = verdict.Unknown
	Yes     = verdict.Yes
	No      = verdict.No
)

// Coverage is the answer of Covers.
type Coverage struct {
	Answer Answer `json:"answer"`
	// Witness, of a No, is a request that Allows confirms: narrow allows it, wide does not.
	Witness *Request `json:"witness,omitempty"`
	// Why, of an Unknown, is the construct or the budget that stopped it.
	Why string `json:"why,omitempty"`
}

// Covers tells whether each request that narrow allows is allowed by wide too. Each is the policies of one token, so
// what one of them denies or limits counts for all. A request is one that can come over the API: the path of a list
// ends in a slash; empty segments are possible. Where a rule gives sudo, a request that needs it is compared too, whether
// or not any engine protects the path.
//
// Templates are taken to be filled for the same caller on both sides, in every way that a caller could have it. An
// entity's or a group's id is a UUID. Other values, such as a name, can be any text, empty or with slashes and wildcards
// of their own, so a Yes about them is given only for equal policies, and where wide has all that begins like such a path.
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
	case doubt == "" && why == "", coversBound(budget, wide, narrow):
		return out
	}
	return Coverage{Why: cmp.Or(doubt, why)}
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
	r = c.asked(r)
	if c.narrowACL.Allows(r).Verdict != Allowed || c.wideACL.Allows(r).Verdict == Allowed {
		return Coverage{Why: fmt.Sprintf("a counterexample does not hold, which is an error of this package: %s", r)}
	}
	return Coverage{Answer: No, Witness: &r}
}

// asked is a request of the comparison's path and caller.
func (c comparison) asked(r Request) Request {
	r.Path = c.path
	if len(c.given) > 0 {
		r.Given = c.given
	}
	return r
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
	if !slices.EqualFunc(a, b, func(x, y Policy) bool {
		return slices.EqualFunc(x.Paths, y.Paths, func(x, y PathRule) bool { return x.Path == y.Path })
	}) {
		return false // nearly always, and at no cost
	}
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
