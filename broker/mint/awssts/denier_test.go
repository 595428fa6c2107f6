package awssts_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes/iam"
)

// mustDeny revokes and wants the deny entry.
func mustDeny(t *testing.T, m *awssts.Minter, h mint.Handle) {
	t.Helper()
	if outcome, err := m.Revoke(t.Context(), h); err != nil || outcome != mint.RoleDeny {
		t.Fatalf("revoke: %v %v", outcome, err)
	}
}

func userOf(h mint.Handle) string {
	if h.RoleID != "" {
		return h.RoleID + ":" + h.SessionName
	}
	return fakeRoleID + ":" + h.SessionName
}

func TestRoleDeny(t *testing.T) {
	f := newFakeIAM(t)
	m, _ := denyMinter(t, f, nil)
	a, b := aHandle(5*time.Minute), aHandle(time.Hour)
	b.RoleID = "AROAFROMANANSWER12345" // the handle's own id is the session's, whatever the role has now
	mustDeny(t, m, a)
	mustDeny(t, m, b)
	writes := f.count("PutRolePolicy")
	mustDeny(t, m, a) // the repeat after a crash
	if f.count("PutRolePolicy") != writes || writes != 2 {
		t.Errorf("%d writes, then %d", writes, f.count("PutRolePolicy"))
	}
	// A broker that starts anew knows nothing, and needs nothing.
	again, _ := denyMinter(t, f, nil)
	mustDeny(t, again, a)
	want := []string{userOf(a), userOf(b)}
	slices.Sort(want)
	if got := f.denied(t, denyPolicy); !slices.Equal(got, want) {
		t.Errorf("denied %v, want %v", got, want)
	}
}

func TestRoleIDComesFromTheAnswer(t *testing.T) {
	f, sts, desk := newFakeIAM(t), newFakeSTS(t, good(nil)), minttest.NewDesk(t)
	m := newMinter(t, desk, sts.url, func(c *awssts.Config) {
		c.RoleARN, c.RoleDeny = fakeRole, &awssts.RoleDeny{Endpoint: f.url, PolicyName: "mine"}
	})
	cred, err := m.Mint(t.Context(), desk.Permit(minttest.Order(prefixPermissions(), 5*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	orphan := aHandle(time.Minute)
	mustDeny(t, m, cred.Handle())
	mustDeny(t, m, orphan)
	want := []string{"AROA:" + cred.Handle().SessionName, "AROA:" + orphan.SessionName}
	slices.Sort(want)
	if got := f.denied(t, "mine"); cred.Handle().RoleID != "AROA" || !slices.Equal(got, want) {
		t.Errorf("denied %v, want %v", got, want)
	}
}

func TestWaitingEntriesGoTogether(t *testing.T) {
	f := newFakeIAM(t)
	m, _ := denyMinter(t, f, func(c *awssts.Config) { c.Timeout = 0 })
	const n = 32
	first, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.before = func(action string, _ http.ResponseWriter, _ *http.Request) bool {
		if action == "PutRolePolicy" {
			once.Do(func() { close(first); <-release })
		}
		return false
	}
	var wg sync.WaitGroup
	revoke := func() {
		if outcome, err := m.Revoke(t.Context(), aHandle(5*time.Minute)); err != nil || outcome != mint.RoleDeny {
			t.Errorf("revoke: %v %v", outcome, err)
		}
	}
	wg.Go(revoke)
	<-first
	var begun sync.WaitGroup
	begun.Add(n)
	for range n {
		wg.Go(func() { begun.Done(); revoke() })
	}
	begun.Wait()
	close(release)
	wg.Wait()
	if got, writes := len(f.denied(t, denyPolicy)), f.count("PutRolePolicy"); got != n+1 || writes > n/2 {
		t.Errorf("%d denied by %d writes", got, writes)
	}
}

// TestIAMFailures fails each call in each way, before and after its effect. Whatever happened,
// the repeat ends with one entry.
func TestIAMFailures(t *testing.T) {
	fault := func(status int, code string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { fails(status, code)(w, r, nil) }
	}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   error
	}{
		"denied":          {fault(http.StatusForbidden, "AccessDenied"), mint.ErrRefused},
		"service's role":  {fault(http.StatusBadRequest, "UnmodifiableEntity"), mint.ErrRefused},
		"bad signature":   {fault(http.StatusForbidden, "SignatureDoesNotMatch"), mint.ErrRefused},
		"throttled":       {fault(http.StatusBadRequest, "Throttling"), mint.ErrUnavailable},
		"broken":          {fault(http.StatusInternalServerError, "ServiceFailure"), mint.ErrUnavailable},
		"changing":        {fault(http.StatusConflict, "ConcurrentModification"), mint.ErrUnavailable},
		"hangs":           {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, mint.ErrUnavailable},
		"cut off":         {func(w http.ResponseWriter, r *http.Request) { cuts(w, r, nil) }, mint.ErrUnavailable},
		"a proxy's page":  {func(w http.ResponseWriter, r *http.Request) { raw(http.StatusBadGateway, marker)(w, r, nil) }, mint.ErrUnavailable},
		"secrets as code": {fault(http.StatusBadRequest, marker), mint.ErrRefused},
	} {
		for _, action := range []string{"GetRole", "GetRolePolicy", "PutRolePolicy"} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/late=%v", name, action, late), func(t *testing.T) {
					f := newFakeIAM(t)
					hook := func(a string, w http.ResponseWriter, r *http.Request) bool {
						if a != action {
							return false
						}
						tc.answer(w, r)
						return true
					}
					if late {
						f.after = hook
					} else {
						f.before = hook
					}
					var clock movedClock
					m, log := denyMinter(t, f, func(c *awssts.Config) { c.Timeout, c.Now = 300*time.Millisecond, clock.now })
					h := aHandle(5 * time.Minute)
					outcome, err := m.Revoke(t.Context(), h)
					if outcome != mint.RevokeUnspecified || !errors.Is(err, tc.want) {
						t.Errorf("got %v %v, want %v", outcome, err, tc.want)
					}
					if err != nil && strings.Contains(err.Error(), marker) || strings.Contains(log.String(), marker) {
						t.Errorf("a secret shows: %v %s", err, log)
					}
					f.set(func() { f.before, f.after = nil, nil })
					clock.move(askAgain)
					mustDeny(t, m, h)
					if got := f.denied(t, denyPolicy); !slices.Equal(got, []string{userOf(h)}) {
						t.Errorf("denied %v", got)
					}
				})
			}
		}
	}
}

func TestTornReadIsRepeated(t *testing.T) {
	f := newFakeIAM(t)
	var once sync.Once
	f.before = func(action string, w http.ResponseWriter, _ *http.Request) (torn bool) {
		if action == "GetRolePolicy" {
			once.Do(func() { torn = true })
		}
		if !torn {
			return false
		}
		w.Header().Set("Content-Length", "1000")
		_, _ = fmt.Fprint(w, "<GetRolePolicyResponse>"+marker)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // how a handler cuts its connection
	}
	m, _ := denyMinter(t, f, nil)
	mustDeny(t, m, aHandle(5*time.Minute))
}

func TestForeignContentIsNotTouched(t *testing.T) {
	const foreign = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	f := newFakeIAM(t)
	f.policies[denyPolicy], f.policies["allow"] = foreign, foreign
	var clock movedClock
	m, _ := denyMinter(t, f, func(c *awssts.Config) { c.Now = clock.now })
	h := aHandle(5 * time.Minute)
	outcome, err := m.Revoke(t.Context(), h)
	if !errors.Is(err, awssts.ErrForeign) || outcome != mint.RevokeUnspecified || !strings.Contains(err.Error(), denyPolicy) {
		t.Errorf("got %v %v", outcome, err)
	}
	if f.policy(denyPolicy) != foreign || f.count("PutRolePolicy")+f.count("DeleteRolePolicy") != 0 {
		t.Error("foreign content was written over")
	}
	clock.move(askAgain)
	f.set(func() { delete(f.policies, denyPolicy) })
	mustDeny(t, m, h)
	if f.policy("allow") != foreign {
		t.Error("another policy was changed")
	}
}

func TestAnotherRoleOfThatName(t *testing.T) {
	f := newFakeIAM(t)
	f.arn = "arn:aws:iam::999999999999:role/path/test"
	m, _ := denyMinter(t, f, nil)
	if outcome, err := m.Revoke(t.Context(), aHandle(time.Minute)); !errors.Is(err, mint.ErrRefused) || outcome != 0 {
		t.Errorf("got %v %v", outcome, err)
	}
	if f.count("PutRolePolicy") != 0 {
		t.Error("a role of another account was written")
	}
}

// fill revokes until a session gets another answer.
func fill(t *testing.T, m *awssts.Minter) (denied []mint.Handle, last mint.Handle, outcome mint.RevokeOutcome, err error) {
	t.Helper()
	for range 300 {
		h := aHandle(5 * time.Minute)
		outcome, err := m.Revoke(t.Context(), h)
		if err != nil || outcome != mint.RoleDeny {
			return denied, h, outcome, err
		}
		denied = append(denied, h)
	}
	t.Fatal("the policy is never full")
	return nil, mint.Handle{}, 0, nil
}

func TestFullPolicy(t *testing.T) {
	for _, other := range []int{0, 6000} { // characters of another inline policy
		f := newFakeIAM(t)
		if other > 0 {
			f.policies["allow"] = strings.Repeat("x", other)
		}
		m, log := denyMinter(t, f, nil)
		denied, last, outcome, err := fill(t, m)
		if outcome != mint.RevokeUnspecified || !errors.Is(err, mint.ErrRefused) {
			t.Errorf("got %v %v", outcome, err)
		}
		got := f.denied(t, denyPolicy)
		if room := (10240 - 2048 - other) / 63; len(denied) < room-2 || len(got) != len(denied) {
			t.Errorf("%d denied, %d in the policy, room for %d", len(denied), len(got), room)
		}
		for _, h := range denied { // those that were reported dead stay dead
			if !slices.Contains(got, userOf(h)) {
				t.Fatalf("%s was dropped", userOf(h))
			}
		}
		if slices.Contains(got, userOf(last)) || strings.Count(log.String(), "are full") != 1 {
			t.Errorf("the log: %s", log)
		}
	}
}

func TestEndedEntriesAreDropped(t *testing.T) {
	f := newFakeIAM(t)
	var mu sync.Mutex
	off := time.Duration(0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(off) }
	move := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); off += d }
	f.now = clock
	m, _ := denyMinter(t, f, func(c *awssts.Config) { c.Now = clock })
	short, long := aHandle(5*time.Minute), aHandle(time.Hour)
	mustDeny(t, m, short)
	mustDeny(t, m, long)
	ended := func() {
		t.Helper()
		if outcome, err := m.Revoke(t.Context(), short); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("an ended session: %v %v", outcome, err)
		}
	}
	move(5 * time.Minute) // over, but within what clocks may be apart
	before := f.policy(denyPolicy)
	ended()
	if f.policy(denyPolicy) != before {
		t.Error("dropped too early")
	}
	move(25 * time.Minute)
	calls := f.count("GetRolePolicy")
	ended()
	ended()
	if got := f.denied(t, denyPolicy); !slices.Equal(got, []string{userOf(long)}) || f.count("GetRolePolicy") != calls+1 {
		t.Errorf("denied %v, %d reads", got, f.count("GetRolePolicy")-calls)
	}
	// A broker that starts later finds what is over by itself.
	move(2 * time.Hour)
	m, _ = denyMinter(t, f, func(c *awssts.Config) { c.Now = clock })
	ended()
	if text := f.policy(denyPolicy); text != "" || f.count("DeleteRolePolicy") != 1 {
		t.Errorf("left: %s", text)
	}
	ended()
	if f.count("DeleteRolePolicy") != 1 {
		t.Error("deleted twice")
	}
}

// TestClockAheadDropsNothing: AWS ends a session by its own clock, so an entry whose session
// is over by ours alone stays, and is not looked at with every session that ends.
func TestClockAheadDropsNothing(t *testing.T) {
	f := newFakeIAM(t)
	var ahead atomic.Int64
	m, _ := denyMinter(t, f, func(c *awssts.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	h := aHandle(30 * time.Minute)
	mustDeny(t, m, h)
	ahead.Store(int64(2 * time.Hour))
	calls := f.count("GetRolePolicy")
	for range 3 {
		if outcome, err := m.Revoke(t.Context(), h); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("a session that is over by our clock: %v %v", outcome, err)
		}
	}
	if n := f.count("GetRolePolicy") - calls; n > 1 {
		t.Errorf("%d reads", n)
	}
	other := aHandle(4 * time.Hour)
	mustDeny(t, m, other)
	want := []string{userOf(h), userOf(other)}
	slices.Sort(want)
	if got := f.denied(t, denyPolicy); !slices.Equal(got, want) {
		t.Errorf("denied %v, want %v", got, want)
	}
}

// TestSweepFailureIsNoHaste: a sweep that fails is not repeated with every session that ends.
func TestSweepFailureIsNoHaste(t *testing.T) {
	f := newFakeIAM(t)
	f.before = func(_ string, w http.ResponseWriter, r *http.Request) bool {
		fails(http.StatusForbidden, "AccessDenied")(w, r, nil)
		return true
	}
	m, log := denyMinter(t, f, nil)
	for range 3 {
		if outcome, err := m.Revoke(t.Context(), aHandle(-time.Minute)); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("revoke: %v %v", outcome, err)
		}
	}
	if f.count("GetRole") != 1 || strings.Count(log.String(), "AccessDenied") != 1 {
		t.Errorf("%d calls: %s", f.count("GetRole"), log)
	}
}

// TestTwoBrokersOnOnePolicy: each sees that the other wrote over its entry, and writes again.
func TestTwoBrokersOnOnePolicy(t *testing.T) {
	f := newFakeIAM(t)
	minters := make([]*awssts.Minter, 2)
	for i := range minters {
		minters[i], _ = denyMinter(t, f, func(c *awssts.Config) { c.Timeout = 0 })
	}
	var mu sync.Mutex
	var want []string
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			h := aHandle(5 * time.Minute)
			for { // as the work table does
				outcome, err := minters[i%2].Revoke(t.Context(), h)
				if errors.Is(err, mint.ErrUnavailable) {
					continue
				}
				if err != nil || outcome != mint.RoleDeny {
					t.Errorf("revoke: %v %v", outcome, err)
				}
				break
			}
			mu.Lock()
			defer mu.Unlock()
			want = append(want, userOf(h))
		})
	}
	wg.Wait()
	for _, m := range minters { // each puts back what the other lost
		h := aHandle(5 * time.Minute)
		mustDeny(t, m, h)
		want = append(want, userOf(h))
	}
	slices.Sort(want)
	if got := f.denied(t, denyPolicy); !slices.Equal(got, want) {
		t.Errorf("%d denied, want %d", len(got), len(want))
	}
}

// TestLostEntryComesBack is the race that a read after the write cannot see: the other broker
// read before this one wrote, and writes after this one looked.
func TestLostEntryComesBack(t *testing.T) {
	f := newFakeIAM(t)
	m, _ := denyMinter(t, f, nil)
	a, b := aHandle(5*time.Minute), aHandle(5*time.Minute)
	mustDeny(t, m, a)
	f.set(func() { delete(f.policies, denyPolicy) }) // what the other had read
	mustDeny(t, m, b)
	if got := f.denied(t, denyPolicy); len(got) != 2 {
		t.Errorf("denied %v", got)
	}
}

// TestNoRoomToPutBack: what was lost does not fit any more, since somebody else took the room.
func TestNoRoomToPutBack(t *testing.T) {
	f := newFakeIAM(t)
	m, _ := denyMinter(t, f, nil)
	h := aHandle(5 * time.Minute)
	mustDeny(t, m, h)
	f.set(func() { f.policies = map[string]string{"allow": strings.Repeat("x", 10200)} })
	writes := f.count("PutRolePolicy")
	if outcome, err := m.Revoke(t.Context(), h); !errors.Is(err, mint.ErrRefused) || outcome != mint.RevokeUnspecified {
		t.Errorf("revoke: %v %v", outcome, err)
	}
	if n := f.count("PutRolePolicy") - writes; n != 1 {
		t.Errorf("%d writes", n)
	}
}

func TestRoleDenyRefuses(t *testing.T) {
	m, _ := denyMinter(t, newFakeIAM(t), nil)
	for _, h := range []mint.Handle{{SessionName: "vk-a"}, {NotAfter: time.Now().Add(time.Hour)}} {
		if _, err := m.Revoke(t.Context(), h); !errors.Is(err, mint.ErrRefused) {
			t.Errorf("%+v: %v", h, err)
		}
	}
	h := aHandle(time.Minute)
	h.RoleID = "*"
	if _, err := m.Revoke(t.Context(), h); !errors.Is(err, mint.ErrRefused) {
		t.Errorf("a wildcard as role id: %v", err)
	}

	desk := minttest.NewDesk(t)
	ok := awssts.Config{Role: "r", RoleARN: fakeRole, Permits: desk.Verifier, Dialect: iam.DialectAWS, RoleDeny: &awssts.RoleDeny{}}
	if _, err := awssts.New(t.Context(), ok); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*awssts.Config){
		"not a role":      func(c *awssts.Config) { c.RoleARN = "arn:aws:iam::123456789012:user/a" },
		"policy name":     func(c *awssts.Config) { c.RoleDeny = &awssts.RoleDeny{PolicyName: "a b"} },
		"not a URL":       func(c *awssts.Config) { c.RoleDeny = &awssts.RoleDeny{Endpoint: "localhost:1"} },
		"s3 without IAM":  func(c *awssts.Config) { c.Dialect, c.Endpoint = iam.DialectMinIO, "http://localhost:9000" },
		"no key for IAM":  func(c *awssts.Config) { c.WebIdentity = &awssts.WebIdentity{Audience: "a", Fetch: nil} },
		"role has no end": func(c *awssts.Config) { c.RoleARN = "arn:aws:iam::123456789012:role/" },
	} {
		cfg := ok
		change(&cfg)
		if _, err := awssts.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
