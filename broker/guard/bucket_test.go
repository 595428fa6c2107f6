package guard

import (
	"testing"
	"time"
)

// shelf is a transaction that holds buckets alone.
type shelf struct {
	now     time.Time
	buckets map[string]time.Time
}

func (s *shelf) Frozen(string) (string, bool, error)        { return "", false, nil }
func (s *shelf) Bucket(key string) (time.Time, error)       { return s.buckets[key], nil }
func (s *shelf) PutBucket(key string, full time.Time) error { s.buckets[key] = full; return nil }
func (s *shelf) Now() time.Time                             { return s.now }

// TestTakeToken asks in turn: a burst is allowed, then one an interval, whatever a clock did.
func TestTakeToken(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	s := &shelf{buckets: map[string]time.Time{}}
	take := func(key string, after, want time.Duration) {
		t.Helper()
		s.now = start.Add(after)
		was := s.buckets[key]
		wait, err := takeToken(s, key, time.Second, 10)
		if err != nil || wait != want {
			t.Errorf("%s after %v: wait %v, %v, want %v", key, after, wait, err, want)
		}
		if changed := !s.buckets[key].Equal(was); changed != (want == 0) {
			t.Errorf("%s after %v: changed %v", key, after, changed)
		}
	}
	for range 10 {
		take("k", 0, 0)
	}
	take("k", 0, time.Second)
	take("k", time.Second/2, time.Second/2)
	take("k", time.Second, 0)
	take("k", time.Second, time.Second)
	take("other", time.Second, 0)

	take("jump", time.Hour, 0) // by a clock that was ahead: one token, none, and one after the wait
	take("jump", 0, 0)
	take("jump", 0, time.Second)
	take("jump", time.Second, 0)
}
