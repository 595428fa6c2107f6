package iam

import (
	"fmt"
	"time"
)

// budget is what a search may still cost: steps, of which one is about one position of one automaton state or one node of
// a search, and time, which bounds what steps do not count.
type budget struct {
	left     int
	deadline deadline
	asked    uint // how often it was, since the clock is not read each time
}

// deadline is a point in time by a clock. The zero value is never.
type deadline struct {
	now    func() time.Time
	at     time.Time
	within time.Duration
}

// within returns the deadline that is so much later by the clock.
func within(d time.Duration, now func() time.Time) deadline {
	if now == nil {
		now = time.Now
	}
	return deadline{now: now, at: now().Add(d), within: d}
}

func (d deadline) passed() bool { return d.now != nil && d.now().After(d.at) }

// spend takes n steps and tells whether they, and time, were there.
func (b *budget) spend(n int) bool {
	b.left -= n
	if b.asked++; b.asked&1023 == 0 && b.left >= 0 && b.deadline.passed() {
		b.left = -1
	}
	return b.left >= 0
}

func (b *budget) spent() bool { return b.left < 0 }

// why says that the search ended, in the same words whichever of its limits it met: how fast a machine is must not be in
// what a command prints.
func (b *budget) why(steps int) string {
	return fmt.Sprintf("the search met its limit of %d steps or %s", steps, b.deadline.within)
}
