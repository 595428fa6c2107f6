package vaultacl_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// limits makes a rule for one path with parameters and wrapping limits of few values, so that they meet often.
func limits(rng *rand.Rand) vaultacl.PathRule {
	r := vaultacl.PathRule{Path: "p", Capabilities: []string{"update"}}
	values := func() map[string][]any {
		if rng.IntN(3) == 0 {
			return nil
		}
		out := map[string][]any{}
		for range 1 + rng.IntN(2) {
			list := []any{}
			for range rng.IntN(4) {
				list = append(list, []any{"a", "b", "a*", "*b", "*a*", "ab*", "**", "*", "", "a,b", ",*", true, vaultacl.Number("1")}[rng.IntN(13)])
			}
			out[[]string{"x", "y", "*"}[rng.IntN(3)]] = list
		}
		return out
	}
	r.Allowed, r.Denied = values(), values()
	for _, n := range []string{"x", "y"} {
		if rng.IntN(5) == 0 {
			r.Required = append(r.Required, n)
		}
	}
	if rng.IntN(6) == 0 {
		r.MinWrap = time.Duration(1+rng.IntN(3)) * time.Second
	}
	if rng.IntN(6) == 0 {
		r.MaxWrap = time.Duration(1+rng.IntN(3)) * time.Second
	}
	return r
}

// smallRequests lists calls with all small values.
func smallRequests() []vaultacl.Request {
	words := []string{""}
	for range 3 {
		for _, w := range words {
			for _, c := range []string{"a", "b", ",", "q"} {
				words = append(words, w+c)
			}
		}
		words = words[:min(len(words), 200)]
	}
	values := []any{true, false, nil, json.Number("1"), []any{}, []any{"a"}, []any{"q"}, []any{"a", "b"}, []any{"ab", "a"}, []any{true}}
	for _, w := range words {
		values = append(values, w)
	}
	var out []vaultacl.Request
	add := func(data map[string]any) {
		out = append(out, vaultacl.Request{Operation: vaultacl.OpUpdate, Path: "p", Data: data})
	}
	add(nil)
	for _, v := range values {
		for _, n := range []string{"x", "y", "z", "X", "*"} {
			add(map[string]any{n: v})
		}
		for _, other := range []any{"", "a", "b", "q", []any{}, true} {
			add(map[string]any{"x": v, "y": other})
			add(map[string]any{"x": other, "y": v})
			add(map[string]any{"x": other, "y": other, "z": v})
		}
	}
	for i := range 5 {
		for _, ttl := range []time.Duration{time.Duration(i) * time.Second, time.Duration(i)*time.Second + 1} {
			for _, data := range []map[string]any{nil, {"x": []any{}}, {"y": []any{}}, {"x": []any{}, "y": []any{}}} {
				out = append(out, vaultacl.Request{Operation: vaultacl.OpUpdate, Path: "p", Data: data, WrapTTL: ttl})
			}
		}
	}
	return out
}

func TestParametersAgreeWithTryingEverything(t *testing.T) {
	requests := smallRequests()
	rng := rand.New(rand.NewPCG(5, 6))
	count := map[vaultacl.Answer]int{}
	one := func() []vaultacl.Policy {
		p := []vaultacl.Policy{{Paths: []vaultacl.PathRule{limits(rng)}}}
		if rng.IntN(4) == 0 {
			p = append(p, vaultacl.Policy{Paths: []vaultacl.PathRule{limits(rng)}})
		}
		return p
	}
	const cases = 4000
	for range cases {
		wide, narrow := one(), one()
		if rng.IntN(3) == 0 {
			wide = append(wide, narrow...)
		}
		got := vaultacl.Covers(wide, narrow)
		count[got.Answer]++
		if got.Answer == vaultacl.No {
			if vaultacl.Allows(narrow, *got.Witness).Verdict != vaultacl.Allowed || vaultacl.Allows(wide, *got.Witness).Verdict == vaultacl.Allowed {
				t.Fatalf("the witness %s does not hold:\n%+v\n%+v", got.Witness, wide, narrow)
			}
			continue
		}
		w, n := vaultacl.Compile(wide), vaultacl.Compile(narrow)
		for _, r := range requests {
			if n.Allows(r).Verdict == vaultacl.Allowed && w.Allows(r).Verdict != vaultacl.Allowed {
				t.Fatalf("%v, but %s passes one side alone:\n%s\n%s", got.Answer, r, printed(t, wide), printed(t, narrow))
			}
		}
	}
	t.Logf("%d requests, answers %v", len(requests), count)
	if count[vaultacl.Yes] < cases/20 || count[vaultacl.No] < cases/20 || count[vaultacl.Unknown] > cases/100 {
		t.Errorf("the cases show little: %v", count)
	}
}

func printed(t *testing.T, set []vaultacl.Policy) string {
	t.Helper()
	out := ""
	for _, p := range set {
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out += "# policy\n" + string(text)
	}
	return out
}
