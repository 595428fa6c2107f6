package broker

import "time"

// nextTry is when an end that failed is carried upstream again: after twice the
// wait each time, at most maxBackoff, and at once when the credential has ended
// by itself, so that the record does not stay open longer. notAfter may be zero.
func nextTry(now time.Time, attempts int, notAfter time.Time) time.Time {
	next := now.Add(min(tick<<min(attempts, 16), maxBackoff))
	if notAfter.After(now) && notAfter.Before(next) {
		return notAfter
	}
	return next
}
