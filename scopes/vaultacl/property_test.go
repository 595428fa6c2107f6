package vaultacl_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// large makes a policy of many rules like those of a large company.
func large(rng *rand.Rand, rules int) []vaultacl.Policy {
	p := vaultacl.Policy{}
	for range rules {
		segs := []string{[]string{"secret/data", "kv", "pki", "+"}[rng.IntN(4)]}
		for range 1 + rng.IntN(5) {
			segs = append(segs, []string{"+", fmt.Sprint("team", rng.IntN(20)), fmt.Sprint("env", rng.IntN(4)), "app"}[rng.IntN(4)])
		}
		path := strings.Join(segs, "/")
		if rng.IntN(3) == 0 {
			path += "/*"
		}
		p.Paths = append(p.Paths, vaultacl.PathRule{Path: path, Capabilities: []string{vaultacl.Capabilities()[rng.IntN(7)]}})
	}
	return []vaultacl.Policy{p}
}

// A comparison ends, whatever it is given, and says Unknown when its budget is over; a smaller budget never gives
// another answer than Unknown.
func TestBudget(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		narrow := large(rng, 200)
		wide := append(slices.Clone(narrow), vaultacl.Policy{Paths: []vaultacl.PathRule{{Path: "other", Capabilities: vaultacl.Capabilities()}}})
		start := time.Now()
		got := vaultacl.Covers(wide, narrow)
		t.Logf("%v in %v %s %v", got.Answer, time.Since(start), got.Why, got.Witness)
		if got.Answer == vaultacl.No {
			t.Errorf("a rule more for another path took %s away", got.Witness)
		}
		if small := vaultacl.CoversWithin(10, wide, narrow); small.Answer != vaultacl.Unknown || small.Why == "" {
			t.Errorf("ten paths were enough: %v", small.Answer)
		}
	}
}

// Many rules of "+" in all places make more kinds of paths than there is budget for; the answer comes soon all the same.
func TestBudgetOfTheWorst(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	p := vaultacl.Policy{}
	for range 60 {
		var segs []string
		for range 14 {
			segs = append(segs, []string{"+", "+", "+", "a", "b"}[rng.IntN(5)])
		}
		p.Paths = append(p.Paths, vaultacl.PathRule{Path: strings.Join(segs, "/"), Capabilities: []string{"read"}})
	}
	start := time.Now()
	got := vaultacl.Covers([]vaultacl.Policy{p, {Paths: p.Paths[:1]}}, []vaultacl.Policy{p})
	t.Logf("%v in %v: %s", got.Answer, time.Since(start), got.Why)
	if got.Answer == vaultacl.No || time.Since(start) > 20*time.Second {
		t.Errorf("%v %v after %v", got.Answer, got.Witness, time.Since(start))
	}
}

// Each policy covers itself, and nothing; a rule more can take away only where Vault merges or prefers it; covering is
// transitive; and Covers and Diff agree.
func TestCoversLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	w := newWorld()
	chains := 0
	for range 3000 {
		a, b, c := w.side(rng).policies(), w.side(rng).policies(), w.side(rng).policies()
		shuffled := slices.Clone(a)
		slices.Reverse(shuffled)
		for i := range shuffled {
			shuffled[i].Paths = slices.Clone(shuffled[i].Paths)
			slices.Reverse(shuffled[i].Paths)
		}
		if vaultacl.Covers(a, shuffled).Answer != vaultacl.Yes || vaultacl.Covers(a, nil).Answer != vaultacl.Yes {
			t.Fatalf("not itself, or not nothing: %v", a)
		}
		if vaultacl.Covers(a, b).Answer == vaultacl.Yes && vaultacl.Covers(b, c).Answer == vaultacl.Yes {
			chains++
			if vaultacl.Covers(a, c).Answer != vaultacl.Yes {
				t.Fatalf("not transitive: %v %v %v", a, b, c)
			}
		}
		forth, back := vaultacl.Diff(a, b), vaultacl.Diff(b, a)
		if len(forth.Gained) != len(back.Lost) || len(forth.Lost) != len(back.Gained) {
			t.Fatalf("a difference depends on its direction: %+v %+v", forth, back)
		}
		for _, ch := range forth.Gained {
			if !ch.Known || ch.Tier == vaultacl.TierNone || vaultacl.Allows(b, ch.Witness).Verdict != vaultacl.Allowed ||
				vaultacl.Allows(a, ch.Witness).Verdict == vaultacl.Allowed {
				t.Fatalf("%+v does not hold", ch)
			}
		}
	}
	if chains < 50 {
		t.Errorf("only %d chains", chains)
	}
}
