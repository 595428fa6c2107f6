package broker

import (
	"fmt"
	"testing"
	"time"
)

func TestNoisyCallersSpendTheirOwnShare(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var r refusals
	// tally is how many of n refusals of a caller's are recorded one by one.
	tally := func(known bool, key string, n int) (kept int) {
		for range n {
			if r.count(now, known, key, "R") {
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
	r = refusals{}
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
	if counted := r.take()["R"]; int64(known+strangers)+counted != 200_000 {
		t.Errorf("%d recorded and %d counted of 200,000", known+strangers, counted)
	}
	now = now.Add(refusalWindow)
	if got := tally(true, "noisy", 1); got != 1 {
		t.Error("a new window gives no new share")
	}
}

// While one agent of few has used up what all share, each other one's first is
// still on the record by itself.
func TestFirstRefusalOfACallerIsRecorded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var r refusals
	for i := range 20 {
		for range 100 {
			r.count(now, true, fmt.Sprint("noisy ", i), "R")
		}
	}
	if r.known.all != budgetOf(true).all {
		t.Fatalf("the share of all is not used up: %d", r.known.all)
	}
	if !r.count(now, true, "quiet", "R") {
		t.Error("the first refusal of a quiet caller was only counted")
	}
}
