package notify

import (
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
)

func TestOnlyWatchersOfWhatChangedAreWoken(t *testing.T) {
	w := New(nil, nil, 3)
	var leaves []func()
	for _, grant := range []string{"g1", "g2", "g1"} {
		leave, err := w.enter("alice", grant)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	one, two := w.next("g1"), w.next("g2")
	w.Announce("g1", "g3")
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	if !woken(one) || woken(two) || woken(w.next("g1")) {
		t.Errorf("woken: %v %v, and for the next change %v", woken(one), woken(two), woken(w.next("g1")))
	}
	if _, err := w.enter("alice", "g4"); !errors.Is(err, grant.ErrTooManyWatches) || !errors.Is(err, guard.ErrRateLimited) {
		t.Errorf("a fourth: %v", err)
	}
	leave, err := w.enter("bob", "g1")
	if err != nil {
		t.Errorf("another agent: %v", err)
	}
	for _, l := range append(leaves, leave, leave) { // a second leave is none
		l()
	}
	if len(w.topics) != 0 || len(w.open) != 0 {
		t.Errorf("left behind: %v %v", w.topics, w.open)
	}
}
