package guard

import (
	"errors"
	"testing"
	"time"

	"fmt"
)

func TestCallsHaveBudgetsOfTheirOwn(t *testing.T) {
	var c calls
	now := time.Now()
	take := func(of callsOf, n int) time.Duration { return c.take(of, now, time.Second, 3, n) }
	a, end := callsOf{"a", Look}, callsOf{"a", End}
	for i := range 3 {
		if wait := take(a, 1); wait != 0 {
			t.Errorf("call %d waits %v", i, wait)
		}
	}
	if wait := take(a, 1); wait <= 0 || wait > time.Second {
		t.Errorf("the fourth waits %v", wait)
	}
	if wait := take(end, 1); wait != 0 {
		t.Error("who has looked too often cannot give back")
	}
	if wait := take(callsOf{"b", Look}, 1); wait != 0 {
		t.Error("another has to wait")
	}
	now = now.Add(time.Second)
	if take(a, 1) != 0 || take(a, 1) == 0 {
		t.Error("a second later there is not one more")
	}
	if take(callsOf{"c", Look}, 100) != 0 {
		t.Error("what costs more than a burst can never be had")
	}
}

func TestCallersAreBounded(t *testing.T) {
	var c calls
	now := time.Now()
	for i := range 2 * maxCallers {
		c.take(callsOf{fmt.Sprint(i), Look}, now, time.Hour, 2, 1)
	}
	if len(c.all) > maxCallers+2 {
		t.Errorf("%d budgets are kept", len(c.all))
	}
	if c.take(callsOf{"one more", Look}, now, time.Hour, 2, 1) == 0 {
		t.Error("those beyond do not share a budget")
	}
	// Full ones are forgotten first.
	now = now.Add(3 * time.Hour)
	if c.take(callsOf{"one more", Look}, now, time.Hour, 2, 1) != 0 || len(c.all) > 2 {
		t.Errorf("%d budgets are kept that are full", len(c.all))
	}
}

func TestCallConfig(t *testing.T) {
	for _, bad := range []Config{{CallsPerMinute: -1}, {CallBurst: -1}, {CallsPerMinute: maxRate + 1}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	g, err := New(Config{RatePerMinute: 6, Burst: 2})
	if err != nil || g.callBurst != 20 || g.callInterval != time.Second || g.delegateCallBurst != 200 || g.delegateCallInterval != time.Second/10 {
		t.Errorf("%v, %+v", err, g)
	}
	if err := (&RateError{}); !errors.Is(err, ErrRateLimited) {
		t.Error("no ErrRateLimited")
	}
}
