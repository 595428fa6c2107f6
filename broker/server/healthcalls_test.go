package server

import (
	"context"
	"fmt"
	"testing"
)

// TestTheOldestHealthCallEnds opens calls that stay.
func TestTheOldestHealthCallEnds(t *testing.T) {
	var h healthCalls
	open := func(peer string) context.Context { return h.add(t.Context(), peer, 2, 4) }
	a, b, c := open("proxy"), open("proxy"), open("proxy")
	if a.Err() == nil || b.Err() != nil || c.Err() != nil {
		t.Errorf("the third of a peer that may have two: %v, %v, %v", a.Err(), b.Err(), c.Err())
	}
	d := open("other")
	for i := range 10 {
		if ctx := open(fmt.Sprint(i)); ctx.Err() != nil {
			t.Error("the newest is ended")
		}
	}
	if b.Err() == nil || c.Err() == nil || d.Err() == nil || len(h.open) != 4 {
		t.Errorf("%d are open, of at most 4", len(h.open))
	}
}
