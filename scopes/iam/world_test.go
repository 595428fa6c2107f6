package iam_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// world is a small set of requests, all of which a test can ask about: ARNs whose Region, account and resource are few
// and short, with colons in the resource; two actions; and every state of two keys that their few values can give.
type world struct {
	resources []string
	actions   []string
	contexts  []map[string][]string

	actionParts, resourceParts, conditionParts []part
}

// part is one element of a statement and the requests, by number in its own dimension, that match it.
type part struct {
	set   func(*iam.Statement)
	allow set // in an Allow
	deny  set // in a Deny
}

// set is a set of numbers under 64*len.
type set []uint64

func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 == 1 }

func newSet(n int, has func(i int) bool) set {
	s := make(set, (n+63)/64)
	for i := range n {
		if has(i) {
			s[i/64] |= 1 << (i % 64)
		}
	}
	return s
}

func newWorld(t testing.TB) *world {
	w := &world{actions: []string{"s:a", "s:b", "t:a"}}
	w.resources = []string{"*", "arn:aws:t:::a"}
	for _, region := range []string{"", "a", "b"} {
		for _, account := range []string{"", "a", "b"} {
			for _, name := range words("ab:", 3) {
				w.resources = append(w.resources, "arn:aws:s:"+region+":"+account+":"+name)
			}
		}
	}
	lists := [][]string{nil, {"v"}, {"w"}}
	numbers := [][]string{nil, {"1"}, {"1.5"}, {"2"}, {"3"}, {"x"}}
	for _, k := range lists {
		for _, n := range numbers {
			ctx := map[string][]string{}
			if k != nil {
				ctx["x:k"] = k
			}
			if n != nil {
				ctx["aws:MultiFactorAuthAge"] = n
			}
			w.contexts = append(w.contexts, ctx)
			for _, many := range [][]string{{}, {"v"}, {"v", "w"}} {
				with := maps.Clone(ctx)
				with["aws:TagKeys"] = many
				w.contexts = append(w.contexts, with)
			}
		}
	}
	w.addActions(t)
	w.addResources(t)
	w.addConditions(t)
	return w
}

// words returns every text of at most n characters of an alphabet, but the empty one.
func words(alphabet string, n int) []string {
	var out []string
	level := []string{""}
	for range n {
		var next []string
		for _, s := range level {
			for _, c := range alphabet {
				next = append(next, s+string(c))
			}
		}
		out = append(out, next...)
		level = next
	}
	return out
}

// match asks Allows about one statement alone, in its two effects.
func (w *world) match(t testing.TB, change func(*iam.Statement), n int, request func(i int) iam.Request) part {
	t.Helper()
	st := iam.Statement{Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}}
	whole := st
	change(&st)
	allow := compiled(t, iam.Policy{Statements: []iam.Statement{st}})
	st.Effect = iam.Deny
	deny := compiled(t, iam.Policy{Statements: []iam.Statement{whole, st}})
	ask := func(e *iam.Evaluator, want iam.Verdict) set {
		return newSet(n, func(i int) bool {
			d, err := e.Allows(request(i))
			if err != nil {
				t.Fatal(err)
			}
			return d.Verdict == want
		})
	}
	return part{set: change, allow: ask(allow, iam.Allowed), deny: ask(deny, iam.ExplicitDeny)}
}

func compiled(t testing.TB, p ...iam.Policy) *iam.Evaluator {
	t.Helper()
	e, err := iam.Compile(iam.DialectAWS, p, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) addActions(t testing.TB) {
	lists := [][]string{{"*"}, {"s:*"}, {"s:a"}, {"s:?"}, {"S:b*"}, {"S:A", "t:*"}, {"s:*a*"}}
	for _, l := range lists {
		for _, not := range []bool{false, true} {
			w.actionParts = append(w.actionParts, w.match(t, func(s *iam.Statement) {
				s.Action, s.NotAction = l, nil
				if not {
					s.Action, s.NotAction = nil, l
				}
			}, len(w.actions), func(i int) iam.Request { return iam.Request{Action: w.actions[i], Resource: "arn:aws:s:::a"} }))
		}
	}
}

func (w *world) addResources(t testing.TB) {
	patterns := []string{"*", "arn:aws:s", "arn:*", "arn:aws:*:*:a", "arn:aws:t:*"}
	for i, region := range words("ab*?", 2) {
		account := words("ab*?", 2)[(i*11+2)%20]
		patterns = append(patterns, "arn:aws:s:"+region, "arn:aws:s:"+region+":"+account, "arn:aws:s::"+region)
		for j, name := range words("ab:*?", 2) {
			switch (i*30 + j) % 5 {
			case 0:
				patterns = append(patterns, "arn:aws:s:"+region+":"+account+":"+name)
			case 1:
				patterns = append(patterns, "arn:aws:s:*:"+region+":"+name)
			}
		}
	}
	add := func(l []string, not bool) {
		w.resourceParts = append(w.resourceParts, w.match(t, func(s *iam.Statement) {
			s.Resource, s.NotResource = l, nil
			if not {
				s.Resource, s.NotResource = nil, l
			}
		}, len(w.resources), func(i int) iam.Request { return iam.Request{Action: "s:a", Resource: w.resources[i]} }))
	}
	for i, p := range patterns {
		add([]string{p}, false)
		if i%4 == 0 {
			add([]string{p}, true)
		}
		if i%3 == 0 {
			add([]string{p, patterns[(i*7+3)%len(patterns)]}, false)
		}
	}
}

func (w *world) addConditions(t testing.TB) {
	conds := []map[string]map[string][]string{nil, nil, nil}
	for _, op := range []string{"StringEquals", "StringNotEquals", "StringEqualsIfExists", "StringNotEqualsIfExists", "ForAllValues:StringEquals",
		"ForAnyValue:StringEquals", "ForAllValues:StringNotEquals", "ForAnyValue:StringNotEquals", "ForAnyValue:StringEqualsIfExists"} {
		conds = append(conds, map[string]map[string][]string{op: {"x:k": {"v"}}})
		if strings.HasPrefix(op, "For") {
			conds = append(conds, map[string]map[string][]string{op: {"aws:TagKeys": {"v"}}})
		}
	}
	for _, op := range []string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan",
		"NumericGreaterThanEquals", "NumericLessThanIfExists", "NumericNotEqualsIfExists"} {
		conds = append(conds, map[string]map[string][]string{op: {"aws:MultiFactorAuthAge": {"2"}}})
	}
	conds = append(conds,
		map[string]map[string][]string{"Null": {"x:k": {"true"}}},
		map[string]map[string][]string{"Null": {"x:K": {"false"}}},
		map[string]map[string][]string{"StringLike": {"x:k": {"*"}}},
		map[string]map[string][]string{"NumericLessThan": {"aws:MultiFactorAuthAge": {"1.5"}}},
		map[string]map[string][]string{"ForAllValues:StringLike": {"x:k": {"v*"}}, "NumericGreaterThan": {"aws:MultiFactorAuthAge": {"1"}}},
		map[string]map[string][]string{"ForAnyValue:StringLike": {"x:k": {"v*"}}, "Null": {"x:k": {"false"}}},
		map[string]map[string][]string{"StringEquals": {"x:k": {"v"}}, "NumericEquals": {"aws:MultiFactorAuthAge": {"1", "2"}}},
	)
	for _, c := range conds {
		w.conditionParts = append(w.conditionParts, w.match(t, func(s *iam.Statement) { s.Condition = c }, len(w.contexts),
			func(i int) iam.Request {
				return iam.Request{Action: "s:a", Resource: "arn:aws:s:::a", Context: w.contexts[i]}
			}))
	}
}
