package valetkey

import "time"

// WithTryFor replaces the 30 seconds that one try of a call may take.
func WithTryFor(d time.Duration) Option { return func(c *config) { c.tryFor = d } }
