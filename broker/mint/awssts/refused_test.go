package awssts_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
)

// askAgain is how long a refusal of IAM's stands.
const askAgain = 15 * time.Second

// movedClock is ahead of the time by as much as a test says. The zero value is the time.
type movedClock struct{ by atomic.Int64 }

func (c *movedClock) now() time.Time       { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *movedClock) move(d time.Duration) { c.by.Add(int64(d)) }

// mustRefuse revokes and wants an error that is no outcome.
func mustRefuse(t *testing.T, m *awssts.Minter, h mint.Handle, because string) {
	t.Helper()
	if outcome, err := m.Revoke(t.Context(), h); !errors.Is(err, mint.ErrRefused) || outcome != mint.RevokeUnspecified || !strings.Contains(err.Error(), because) {
		t.Fatalf("revoke: %v %v", outcome, err)
	}
}

// TestPermissionIsWaitedFor: a revocation that IAM refuses is open until the permission is there,
// or the session is over. The log says so once, and many of them are one question to IAM.
func TestPermissionIsWaitedFor(t *testing.T) {
	for _, action := range []string{"GetRole", "GetRolePolicy", "PutRolePolicy"} {
		t.Run(action, func(t *testing.T) {
			f := newFakeIAM(t)
			f.before = func(a string, w http.ResponseWriter, r *http.Request) bool {
				if a == action {
					fails(http.StatusForbidden, "AccessDenied")(w, r, nil)
				}
				return a == action
			}
			var clock movedClock
			m, log := denyMinter(t, f, func(c *awssts.Config) { c.Now = clock.now })
			handles := []mint.Handle{aHandle(time.Minute)}
			mustRefuse(t, m, handles[0], "AccessDenied")
			if n := strings.Count(log.String(), "cannot be revoked"); n != 1 || !strings.Contains(log.String(), "AccessDenied") {
				t.Errorf("told %d times at once: %s", n, log)
			}
			for range 500 {
				handles = append(handles, aHandle(5*time.Minute))
				mustRefuse(t, m, handles[len(handles)-1], "AccessDenied")
			}
			if n := f.count(action); n != 1 {
				t.Errorf("501 revocations asked %d times", n)
			}
			clock.move(askAgain)
			mustRefuse(t, m, handles[1], "AccessDenied")
			if n := f.count(action); n != 2 {
				t.Errorf("asked %d times in all after a while", n)
			}
			if n := strings.Count(log.String(), "cannot be revoked"); n != 1 {
				t.Errorf("told %d times: %s", n, log)
			}
			clock.move(time.Minute)
			if outcome, err := m.Revoke(t.Context(), handles[0]); err != nil || outcome != mint.DeadlineOnly {
				t.Errorf("one that is over: %v %v", outcome, err)
			}
			f.set(func() { f.before = nil })
			for _, h := range handles[1:4] {
				mustDeny(t, m, h)
			}
		})
	}
}

// TestRefusalOfAClockThatWasAhead stands no longer than another.
func TestRefusalOfAClockThatWasAhead(t *testing.T) {
	f := newFakeIAM(t)
	f.before = func(_ string, w http.ResponseWriter, r *http.Request) bool {
		fails(http.StatusForbidden, "AccessDenied")(w, r, nil)
		return true
	}
	var clock movedClock
	clock.move(10 * time.Minute)
	m, _ := denyMinter(t, f, func(c *awssts.Config) { c.Now = clock.now })
	h := aHandle(time.Hour)
	mustRefuse(t, m, h, "AccessDenied")
	f.set(func() { f.before = nil })
	clock.move(-10 * time.Minute)
	mustDeny(t, m, h)
}

// TestRoomIsWaitedFor: a revocation that finds no room is open until there is some.
func TestRoomIsWaitedFor(t *testing.T) {
	for name, other := range map[string]int{"by its own entries": 0, "by another policy": 6000} {
		t.Run(name, func(t *testing.T) {
			f := newFakeIAM(t)
			if other > 0 {
				f.policies["allow"] = strings.Repeat("x", other)
			}
			var clock movedClock
			m, log := denyMinter(t, f, func(c *awssts.Config) { c.Now = clock.now })
			denied, last, _, err := fill(t, m)
			if !errors.Is(err, mint.ErrRefused) || strings.Count(log.String(), "are full") != 1 {
				t.Fatalf("full: %v; %s", err, log)
			}
			calls := f.count("PutRolePolicy") + f.count("GetRolePolicy")
			more := []mint.Handle{last}
			for range 100 {
				more = append(more, aHandle(time.Hour))
				mustRefuse(t, m, more[len(more)-1], "are full")
			}
			if n := f.count("PutRolePolicy") + f.count("GetRolePolicy") - calls; n != 0 {
				t.Errorf("100 revocations made %d calls", n)
			}
			clock.move(askAgain)
			if other > 0 { // an operator makes room
				f.set(func() { delete(f.policies, "allow") })
			} else { // the entries end
				clock.move(30 * time.Minute)
				f.set(func() { f.now = clock.now })
				more = more[1:]
			}
			for _, h := range more[:10] {
				mustDeny(t, m, h)
			}
			if got := f.denied(t, denyPolicy); other > 0 && len(got) != len(denied)+10 {
				t.Errorf("%d entries", len(got))
			}
		})
	}
}
