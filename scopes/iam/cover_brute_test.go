package iam_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// leftOpen is in the doubts that AWS's pages cause, rather than the search.
const leftOpen = "AWS's pages leave open"

// chosen is one statement by the numbers of its parts.
type chosen struct {
	deny                        bool
	action, resource, condition int
}

func (w *world) choose(r *rand.Rand, n int) []chosen {
	out := make([]chosen, n)
	for i := range out {
		out[i] = chosen{r.IntN(3) == 0, r.IntN(len(w.actionParts)), r.IntN(len(w.resourceParts)), r.IntN(len(w.conditionParts))}
	}
	return out
}

func (w *world) policy(cs []chosen) []iam.Policy {
	p := iam.Policy{}
	for _, c := range cs {
		s := iam.Statement{Effect: iam.Allow}
		if c.deny {
			s.Effect = iam.Deny
		}
		w.actionParts[c.action].set(&s)
		w.resourceParts[c.resource].set(&s)
		w.conditionParts[c.condition].set(&s)
		p.Statements = append(p.Statements, s)
	}
	return []iam.Policy{p}
}

// allowed writes the resources that the statements allow for one action and one context.
func (w *world) allowed(cs []chosen, action, context int, to set) {
	clear(to)
	for _, deny := range []bool{false, true} {
		for _, c := range cs {
			if c.deny != deny {
				continue
			}
			a, r, k := w.actionParts[c.action], w.resourceParts[c.resource], w.conditionParts[c.condition]
			switch {
			case !deny && a.allow.has(action) && k.allow.has(context):
				for i := range to {
					to[i] |= r.allow[i]
				}
			case deny && a.deny.has(action) && k.deny.has(context):
				for i := range to {
					to[i] &^= r.deny[i]
				}
			}
		}
	}
}

// covers looks at every request of the world.
func (w *world) covers(a, b []chosen, inA, inB set) bool {
	for action := range w.actions {
		for context := range w.contexts {
			w.allowed(a, action, context, inA)
			w.allowed(b, action, context, inB)
			for i := range inB {
				if inB[i]&^inA[i] != 0 {
					return false
				}
			}
		}
	}
	return true
}

var brute = flag.Int("brute", 0, "how many pairs TestCoversAgreesWithBruteForce decides both ways; 0 is the test's choice")

// bruteCases is how many random pairs are decided both ways. Each stands for 90 cases: an action and a context, with
// all resources. A million pairs, for which one asks by -brute, take about 40 s of one core.
func bruteCases() int {
	switch {
	case *brute > 0:
		return *brute
	case testing.Short():
		return 10_000
	case raceEnabled:
		return 20_000 // the detector makes each case about ten times as slow
	}
	return 250_000
}

func TestCoversAgreesWithBruteForce(t *testing.T) {
	w := newWorld(t)
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	counts := make([][3]int, workers)
	for n := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			words := (len(w.resources) + 63) / 64
			inA, inB := make(set, words), make(set, words)
			for i := range bruteCases() / workers {
				a, b := w.choose(r, 1+r.IntN(3)), w.choose(r, 1+r.IntN(2))
				if r.IntN(3) == 0 {
					a = append(a, b[0]) // or hardly anything would be covered
				}
				b[0].deny = false
				got, err := iam.CoversPlain(iam.DialectAWS, w.policy(a), w.policy(b))
				if err != nil {
					t.Errorf("%+v: %v", w.policy(a), err)
					return
				}
				counts[n][got.Answer]++
				brute := w.covers(a, b, inA, inB)
				// The world is small: a witness may be outside it. A witness in it must be found.
				if (got.Answer == iam.Unknown && !strings.Contains(got.Why, leftOpen)) || (got.Answer == iam.Yes && !brute) {
					t.Errorf("%v, %v by brute force\na %s\nb %s\nwhy %s", got.Answer, brute, show(w.policy(a)), show(w.policy(b)), got.Why)
					return
				}
				if got.Answer == iam.No && i%16 == 0 { // Covers has asked Allows itself
					checkCoverage(t, fmt.Sprint(a, b), w.policy(a), w.policy(b), got)
				}
			}
		})
	}
	wg.Wait()
	var total [3]int
	for _, c := range counts {
		for i := range c {
			total[i] += c[i]
		}
	}
	t.Logf("%d no, %d yes, %d unknown", total[iam.No], total[iam.Yes], total[iam.Unknown])
	if slices.Min([]int{total[iam.No], total[iam.Yes]}) < bruteCases()/20 || total[iam.Unknown] > bruteCases()/20 {
		t.Errorf("too one-sided to mean much: %v", total)
	}
}

func show(ps []iam.Policy) string {
	out := ""
	for _, p := range ps {
		b, err := p.Marshal()
		if err != nil {
			return err.Error()
		}
		out += string(b)
	}
	return out
}
