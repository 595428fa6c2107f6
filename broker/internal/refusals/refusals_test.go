package refusals

import (
	"fmt"
	"testing"
	"time"
)

func TestNoisyCallersSpendTheirOwnShare(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var r Log
	// tally is how many of n refusals of a caller's are recorded one by one.
	tally := func(known bool, key string, n int) (kept int) {
		for range n {
			if r.count(now, counted{known, key, "R"}) {
				kept++
			}
		}
		return kept
	}
	if got := tally(true, "noisy", 1000); got != 20 {
		t.Errorf("a noisy caller: %d", got)
	}
	if got := tally(false, "example.org", 1000); got != 20 {
		t.Errorf("a noisy trust domain: %d", got)
	}
	if got := tally(true, "quiet", 5); got != 5 {
		t.Errorf("a quiet caller beside it: %d of 5", got)
	}
	if got := tally(false, "other.example", 5); got != 5 {
		t.Errorf("a quiet trust domain beside it: %d of 5", got)
	}
	r = Log{}
	known, strangers := 0, 0
	for i := range 2000 { // more callers than are told apart, all of them noisy
		known += tally(true, fmt.Sprint("caller ", i), 50)
		strangers += tally(false, fmt.Sprint("domain ", i), 50)
	}
	if most := budgetOf(true).all + budgetOf(true).callers + 1; known > most {
		t.Errorf("a flood of callers made %d records, over %d", known, most)
	}
	if most := budgetOf(false).all + budgetOf(false).callers + 1; strangers > most {
		t.Errorf("a flood of strangers made %d records, over %d", strangers, most)
	}
	if len(r.known.kept) > budgetOf(true).callers+1 || len(r.strangers.kept) > budgetOf(false).callers+1 {
		t.Errorf("%d callers and %d domains are held in memory", len(r.known.kept), len(r.strangers.kept))
	}
	summaries := r.take()
	if most := namedKnown + namedStrangers + 1; len(summaries) > most {
		t.Errorf("a flood made %d summaries, over %d", len(summaries), most)
	}
	if n := sum(summaries); int64(known+strangers)+n != 200_000 {
		t.Errorf("%d recorded and %d counted of 200,000", known+strangers, n)
	}
	now = now.Add(refusalWindow)
	if got := tally(true, "noisy", 1); got != 1 {
		t.Error("a new window gives no new share")
	}
}

func sum(c counts) (n int64) {
	for _, one := range c {
		n += one
	}
	return n
}

// What is counted bears its caller's name; neither one caller's many reasons, nor
// made-up trust domains, nor a store that is down make more entries than there are
// places, and all of them are counted.
func TestCountsNameTheirCallers(t *testing.T) {
	var r Log
	now := time.Unix(1_800_000_000, 0)
	n := int64(0)
	refuse := func(c counted, times int) {
		for range times {
			if !r.count(now, c) {
				n++
			}
		}
	}
	noisy := counted{true, "noisy", "R0"}
	refuse(noisy, 1000)
	for i := range 20 {
		refuse(counted{true, "noisy", fmt.Sprint("R", i)}, 10)
		refuse(counted{false, fmt.Sprint("domain ", i), "R0"}, 100)
	}
	refuse(counted{true, "another", "R0"}, 100)
	refuse(counted{false, others, "R0"}, 100)
	for range 3 { // what could not be recorded comes back
		r.putBack(r.take())
	}
	got := r.take()
	own, domains := 0, 0
	for c := range got {
		switch {
		case c.known && c.key == "noisy":
			own++
		case !c.known && c.key != others:
			domains++
		}
	}
	if own != namedReasons || domains != namedStrangers || len(got) > namedReasons+namedStrangers+1+20 {
		t.Errorf("%d of one caller's, %d of domains, %d in all", own, domains, len(got))
	}
	if got[noisy] != 990 || got[counted{true, "another", "R0"}] != 80 || sum(got) != n {
		t.Errorf("counted %d and %d, %d of %d", got[noisy], got[counted{true, "another", "R0"}], sum(got), n)
	}
	r.putBack(counts{})
	for i := range 1000 {
		r.putBack(counts{{true, fmt.Sprint(i), "R"}: 1})
	}
	if got := r.take(); len(got) != namedKnown+1 || sum(got) != 1000 {
		t.Errorf("%d entries came back, counting %d", len(got), sum(got))
	}
}

// While one agent of few has used up what all share, each other one's first is
// still on the record by itself.
func TestFirstRefusalOfACallerIsRecorded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var r Log
	for i := range 20 {
		for range 100 {
			r.count(now, counted{true, fmt.Sprint("noisy ", i), "R"})
		}
	}
	if r.known.all != budgetOf(true).all {
		t.Fatalf("the share of all is not used up: %d", r.known.all)
	}
	if !r.count(now, counted{true, "quiet", "R"}) {
		t.Error("the first refusal of a quiet caller was only counted")
	}
}
