package refusals

import "github.com/valetkey/valetkey/broker/internal/grant"

// counted is what one summary counts: the refusals for one reason of one caller, or
// of all those that are not told apart.
type counted struct {
	// known says that key is a guard's key, of a caller that was authenticated, and
	// not a trust domain that somebody claims.
	known bool
	// key is empty for all others.
	key, reason string
}

// counts are refusals that were not recorded one by one. Each entry becomes a
// record, so those that name a caller are bounded; what is beyond is counted under
// its reason alone. Nothing goes uncounted.
type counts map[counted]int64

const (
	// namedReasons is how many entries one caller can have.
	namedReasons = 4
	// namedKnown and namedStrangers are how many entries name a caller that was
	// authenticated, and a claimed trust domain.
	namedKnown, namedStrangers = 64, 8
)

func (c counts) add(k counted, n int64) {
	if _, has := c[k]; !has && !c.room(k) {
		k = counted{reason: k.reason}
	}
	c[k] += n
}

// room says whether one more entry may name k's caller.
func (c counts) room(k counted) bool {
	own, named, most := 0, 0, namedStrangers
	if k.known {
		most = namedKnown
	}
	for have := range c {
		if have.key == others || have.known != k.known {
			continue
		}
		named++
		if have.key == k.key {
			own++
		}
	}
	return k.key != others && own < namedReasons && named < most
}

// record is the summary of one entry.
func (k counted) record(n int64) grant.Change {
	if k.known {
		return grant.RefusedMore(k.key, "", k.reason, n)
	}
	return grant.RefusedMore("", k.key, k.reason, n)
}
