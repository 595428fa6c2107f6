package guard

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/valetkey/valetkey/broker/identity"
)

// Kind is which of a caller's budgets a call is taken from. They are apart, so that who
// has looked too often can still give back.
type Kind int

const (
	// Free costs nothing: it is for calls that are bounded otherwise.
	Free Kind = iota
	// Look is asking, whatever for.
	Look
	// End is giving back, and closing.
	End
)

// maxCallers is how many budgets are told apart; the rest share one. A budget that is
// full again is forgotten first.
const maxCallers = 1 << 14

// sweepEvery is how often, at most, it is looked for such.
const sweepEvery = time.Second

// calls are the budgets of calls. They are in memory: a restart forgets them and each
// replica has its own, since to look must not cost a write. What leaves something behind
// is throttled in its transaction too. It is safe for concurrent use.
type calls struct {
	mu    sync.Mutex
	all   map[callsOf]*rate.Limiter // guarded by mu
	swept time.Time                 // guarded by mu
}

type callsOf struct {
	key  string
	kind Kind
}

// take takes n tokens, or says how long until there are so many.
func (c *calls) take(of callsOf, now time.Time, every time.Duration, burst, n int) (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.all[of]
	if l == nil {
		if len(c.all) >= maxCallers && now.Sub(c.swept).Abs() >= sweepEvery {
			c.swept = now
			c.sweepLocked(now)
		}
		if len(c.all) >= maxCallers {
			of.key = ""
			l = c.all[of]
		}
		if l == nil {
			l = rate.NewLimiter(rate.Every(every), burst)
		}
		if c.all == nil {
			c.all = map[callsOf]*rate.Limiter{}
		}
		c.all[of] = l
	}
	r := l.ReserveN(now, min(n, burst))
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (c *calls) sweepLocked(now time.Time) {
	for of, l := range c.all {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(c.all, of)
		}
	}
}

// Call takes n tokens of a kind from those that the caller shares with all of its Key,
// and then from those of the delegate that speaks for it, if one does: an agent that has
// used up its own takes none of those that the delegate's other agents share. It is asked when a
// call begins, and has nothing to do with Throttle.
func (g *Guard) Call(a identity.Agent, kind Kind, n int, now time.Time) error {
	if kind == Free {
		return nil
	}
	if wait := g.calls.take(callsOf{"agent:" + g.Subject(a), kind}, now, g.callInterval, g.callBurst, n); wait > 0 {
		return &RateError{Wait: wait}
	}
	if d := a.Delegate(); !d.IsZero() {
		if wait := g.calls.take(callsOf{"delegate:" + d.String(), kind}, now, g.delegateCallInterval, g.delegateCallBurst, n); wait > 0 {
			return &RateError{Wait: wait}
		}
	}
	return nil
}
