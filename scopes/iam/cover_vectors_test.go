package iam_test

import (
	"math/bits"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// Covers agrees with the vectors: a policy covers the policy of one request where it allows the request.
func TestCoversVectors(t *testing.T) {
	decided := 0
	for name, c := range vectors(t) {
		if c.Session != nil || c.Boundary != nil || len(c.Identity) == 0 {
			continue
		}
		p, exact := around(c)
		if p.Validate() != nil {
			continue // a request that no policy can name
		}
		if d, err := iam.Allows(iam.DialectAWS, []iam.Policy{p}, nil, nil, c.Request); err != nil || d.Verdict != iam.Allowed {
			continue // nor without a doubt of its own
		}
		got, err := iam.Covers(iam.DialectAWS, c.Identity, []iam.Policy{p})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := *c.Verdict == iam.Allowed
		variables := strings.Contains(strings.ReplaceAll(show(c.Identity), "${*}", ""), "${")
		switch {
		case got.Answer == iam.Yes && !want,
			exact && got.Answer == iam.No && want,
			exact && got.Answer == iam.Unknown && !variables && !strings.Contains(got.Why, "compared both") && !strings.Contains(got.Why, leftOpen):
			t.Errorf("%s: %+v, want %v\n%s\n%s", name, got, *c.Verdict, show(c.Identity), show([]iam.Policy{p}))
		case got.Answer != iam.Unknown:
			decided++
		}
	}
	t.Logf("%d vectors decided", decided)
	if decided == 0 {
		t.Error("no vector decided")
	}
}

var variableKey = regexp.MustCompile(`\$\{([^,}*?$]+)`)

// around returns a policy that allows the vector's request, and whether it allows no other: several values of a key are
// loosely told.
func around(c iam.Case) (p iam.Policy, exact bool) {
	escape := strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")
	keys := map[string]bool{}
	for k := range c.Request.Context {
		keys[strings.ToLower(k)] = true
	}
	for _, p := range c.Identity {
		for _, s := range p.Statements {
			for _, ks := range s.Condition {
				for k := range ks {
					keys[strings.ToLower(k)] = true
				}
			}
		}
	}
	for _, v := range variableKey.FindAllStringSubmatch(show(c.Identity), -1) {
		keys[strings.ToLower(v[1])] = true
	}
	exact = true
	cond := map[string]map[string][]string{}
	add := func(op, key string, values ...string) {
		if cond[op] == nil {
			cond[op] = map[string][]string{}
		}
		cond[op][key] = values
	}
	for key := range keys {
		var vs []string
		present := false
		for k, list := range c.Request.Context {
			if strings.EqualFold(k, key) {
				vs, present = list, true
			}
		}
		var escaped []string
		for _, v := range vs {
			escaped = append(escaped, escape.Replace(v))
		}
		slices.Sort(escaped)
		escaped = slices.Compact(escaped)
		switch {
		case !present:
			add("Null", key, "true")
			add("StringEqualsIfExists", key, "x") // an empty key is no missing one
		case len(vs) == 0:
			add("Null", key, "true")
			exact = false
		default:
			add("ForAllValues:StringEquals", key, escaped...)
			add("ForAnyValue:StringEquals", key, escaped...)
			exact = exact && len(escaped) == 1
		}
	}
	return iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{c.Request.Action}, Resource: []string{escape.Replace(c.Request.Resource)}, Condition: cond}}}, exact
}

// A Yes about the policies of two vectors survives the requests of all vectors.
func TestCoversVectorPairs(t *testing.T) {
	var cases []iam.Case
	for _, c := range vectors(t) {
		if len(c.Identity) > 0 {
			cases = append(cases, c)
		}
	}
	slices.SortFunc(cases, func(a, b iam.Case) int { return strings.Compare(a.Name, b.Name) })
	allowed := make([]set, len(cases))
	for i, c := range cases {
		e := compiled(t, c.Identity...)
		allowed[i] = newSet(len(cases), func(j int) bool {
			d, err := e.Allows(cases[j].Request)
			return err == nil && d.Verdict == iam.Allowed
		})
	}
	pairs := 20_000
	if testing.Short() || raceEnabled {
		pairs = 2_000
	}
	r := rand.New(rand.NewPCG(19, 19))
	var counts [3]int
	for range pairs {
		a, b := r.IntN(len(cases)), r.IntN(len(cases))
		got, err := iam.CoversPlain(iam.DialectAWS, cases[a].Identity, cases[b].Identity)
		if err != nil {
			t.Fatal(err)
		}
		counts[got.Answer]++
		checkCoverage(t, cases[a].Name+" over "+cases[b].Name, cases[a].Identity, cases[b].Identity, got)
		for w := range allowed[b] {
			if left := allowed[b][w] &^ allowed[a][w]; left != 0 && got.Answer == iam.Yes {
				t.Errorf("%s over %s, but not %+v", cases[a].Name, cases[b].Name, cases[64*w+bits.TrailingZeros64(left)].Request)
			}
		}
	}
	t.Logf("%d no, %d yes, %d unknown", counts[iam.No], counts[iam.Yes], counts[iam.Unknown])
}
