package valetkey_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestOneMintForMany has many callers ask at once, at first and at each renewal.
func TestOneMintForMany(t *testing.T) {
	h := start(t)
	clock := &clock{now: time.Now()}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-prefix-read", params)
	for round := range 4 {
		ids := sync.Map{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 20 {
					cred, err := src.Credential(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					ids.Store(cred.ID(), true)
				}
			})
		}
		wg.Wait()
		brokertest.Eventually(t, "the refresh is over", func() bool { return !src.Status().Renewing })
		if got := len(h.Minter.Secrets()); got != round+1 {
			t.Fatalf("round %d: %d minted", round, got)
		}
		count := 0
		ids.Range(func(any, any) bool { count++; return true })
		if most := min(round+1, 2); count > most {
			t.Errorf("round %d: %d credentials were given", round, count)
		}
		// Past the latest moment of renewal, and before the end.
		clock.add(12 * time.Minute)
	}
}

// clock is a program's own.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestOutage takes the broker away, and checks that the credential is given until
// it dies, that this is said, and that a new broker is found.
func TestOutage(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	clock := &clock{now: time.Now()}
	c := dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithClock(clock.Now), valetkey.WithRetryFor(200*time.Millisecond))
	src := open(t, c).Source("s3-prefix-read", params)
	first, err := src.Credential(t.Context())
	must(t, err)

	f.point("")
	h.Stop()
	clock.add(12 * time.Minute) // renewal is due, and fails
	cred, err := src.Credential(t.Context())
	must(t, err)
	brokertest.Eventually(t, "the failure is told", func() bool { return errors.Is(src.Status().Err, valetkey.ErrUnavailable) })
	if cred.ID() != first.ID() {
		t.Error("another credential without a broker")
	}
	clock.add(2*time.Minute + 55*time.Second) // five seconds are left: callers wait for the next, and take what there is
	cred, err = src.Credential(t.Context())
	must(t, err)
	if cred.ID() != first.ID() {
		t.Error("another credential without a broker")
	}
	clock.add(10 * time.Second)
	if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrUnavailable) {
		t.Errorf("a dead credential without a broker: %v", err)
	}

	h.Start()
	f.point(h.Addr())
	brokertest.Eventually(t, "the new broker is found", func() bool {
		cred, err = src.Credential(t.Context())
		return err == nil
	})
	if cred.ID() == first.ID() || src.Status().Err != nil {
		t.Errorf("%s again, and %v", cred.ID(), src.Status().Err)
	}
}

// TestRestartMidRefresh stops the broker while it mints: the answer is lost, the
// call is sent again to the next broker, and one credential comes of it.
func TestRestartMidRefresh(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	task := open(t, dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(20*time.Second)))
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.Minter.Set(func(m *brokertest.Minter) {
		m.BeforeMint = func(mint.Order) error {
			once.Do(func() { close(reached); <-goOn })
			return nil
		}
	})
	type answer struct {
		cred valetkey.Credential
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		_, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
		got <- answer{cred, err}
	}()
	<-reached
	f.point("")
	close(goOn)
	h.Stop()
	h.Start()
	f.point(h.Addr())
	a := <-got
	must(t, a.err)
	if !a.cred.Receipt().Verified {
		t.Error("not verified")
	}
	// The lost one may be alive until its grant ends; nothing else is.
	if n := len(h.Minter.Secrets()); n != 2 {
		t.Errorf("%d were minted", n)
	}
}

// TestRefusalIsRemembered counts what a denied program costs its broker.
func TestRefusalIsRemembered(t *testing.T) {
	h := start(t)
	clock := &clock{now: time.Now()}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
	ask := func() {
		t.Helper()
		for range 20 {
			if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrNeedsApproval) {
				t.Fatal(err)
			}
		}
	}
	before := len(h.Records())
	ask()
	if n := len(h.Records()) - before; n != 1 {
		t.Errorf("20 questions made %d records", n)
	}
	clock.add(61 * time.Second)
	ask()
	if n := len(h.Records()) - before; n != 2 {
		t.Errorf("a minute later there are %d records", n)
	}
}

// TestFrozenMidLife freezes an agent: what it has goes on, and what it asks is refused.
func TestFrozenMidLife(t *testing.T) {
	h := start(t)
	clock := &clock{now: time.Now()}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-prefix-read", params)
	first, err := src.Credential(t.Context())
	must(t, err)
	freeze(t, h, true)
	clock.add(12 * time.Minute)
	cred, err := src.Credential(t.Context())
	must(t, err)
	brokertest.Eventually(t, "the refusal is told", func() bool { return errors.Is(src.Status().Err, valetkey.ErrFrozen) })
	if cred.ID() != first.ID() {
		t.Error("a frozen agent has another credential")
	}
	clock.add(4 * time.Minute)
	if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrFrozen) {
		t.Errorf("a frozen agent's dead credential: %v", err)
	}
	freeze(t, h, false)
	clock.add(time.Minute)
	_, err = src.Credential(t.Context())
	must(t, err)
}

// TestNewGrant has an operator revoke a grant, and the program notice.
func TestNewGrant(t *testing.T) {
	h := start(t)
	task := open(t, dial(t, h))
	src := task.Source("s3-prefix-read", params)
	first, err := src.Credential(t.Context())
	must(t, err)
	revoke(t, h, first.GrantID())
	src.Forget()
	second, err := src.Credential(t.Context())
	must(t, err)
	if first.GrantID() == second.GrantID() {
		t.Error("the same grant")
	}
	src.Forget()
	third, err := src.Credential(t.Context())
	must(t, err)
	if third.GrantID() != second.GrantID() || third.ID() == second.ID() {
		t.Error("a living grant is not minted from again")
	}
	must(t, src.Release(t.Context()))
	if _, err := src.Credential(t.Context()); !errors.Is(err, valetkey.ErrClosed) {
		t.Errorf("of a released source: %v", err)
	}
	brokertest.Eventually(t, "nothing lives", func() bool { return h.Minter.Live() == 0 })
	other := task.Source("s3-prefix-read", params)
	_, err = other.Credential(t.Context())
	must(t, err)
	must(t, task.Close(t.Context()))
	if _, err := other.Credential(t.Context()); !errors.Is(err, valetkey.ErrClosed) {
		t.Errorf("of a closed task: %v", err)
	}
	if _, err := task.Source("s3-prefix-read", params).Credential(t.Context()); !errors.Is(err, valetkey.ErrClosed) {
		t.Errorf("new, of a closed task: %v", err)
	}
}

// TestTaskEndedElsewhere has an operator end the task under a source.
func TestTaskEndedElsewhere(t *testing.T) {
	h := start(t)
	clock := &clock{now: time.Now()}
	task := open(t, dial(t, h, valetkey.WithClock(clock.Now)))
	src := task.Source("s3-prefix-read", params)
	_, err := src.Credential(t.Context())
	must(t, err)
	revokeTask(t, h, task.ID())
	clock.add(12 * time.Minute)
	brokertest.Eventually(t, "the end is noticed", func() bool {
		_, err := src.Credential(t.Context())
		return errors.Is(err, valetkey.ErrTaskClosed)
	})
}

// TestClockSkew sets the program's clock apart from the broker's.
func TestClockSkew(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 0, time.Second, 10 * time.Minute, 24 * time.Hour} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			h := start(t)
			now := func() time.Time { return time.Now().Add(off) }
			p := open(t, dial(t, h, valetkey.WithClock(now))).AWS("s3-prefix-read", params)
			var got aws.Credentials
			for range 5 {
				var err error
				got, err = p.Retrieve(t.Context())
				must(t, err)
			}
			if left := got.Expires.Sub(now()); left > 15*time.Minute || left < 14*time.Minute+50*time.Second {
				t.Errorf("by its own clock it has %v left", left)
			}
			if n := len(h.Minter.Secrets()); n != 1 {
				t.Errorf("%d were minted", n)
			}
		})
	}
}

// TestCache puts the AWS SDK's cache around the provider.
func TestCache(t *testing.T) {
	h := start(t)
	p := open(t, dial(t, h)).AWS("s3-prefix-read", params)
	bare, err := p.Retrieve(t.Context())
	must(t, err)
	window := aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5 })
	for _, cache := range []aws.CredentialsProvider{aws.NewCredentialsCache(p), window} {
		for range 3 {
			got, err := cache.Retrieve(t.Context())
			must(t, err)
			if got.AccessKeyID != bare.AccessKeyID || got.SecretAccessKey == "" || got.SessionToken == "" || !got.CanExpire {
				t.Errorf("%s for %s", got.AccessKeyID, bare.AccessKeyID)
			}
		}
	}
	if n := len(h.Minter.Secrets()); n != 1 {
		t.Errorf("%d were minted", n)
	}
}

// TestCallerGoesAway ends the call that caused a refresh: the others have theirs.
func TestCallerGoesAway(t *testing.T) {
	h := start(t)
	src := open(t, dial(t, h)).Source("s3-prefix-read", params)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	h.Minter.Set(func(m *brokertest.Minter) {
		m.BeforeMint = func(mint.Order) error {
			if calls.Add(1) == 1 {
				close(reached)
			}
			<-goOn
			return nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := src.Credential(ctx)
		gone <- err
	}()
	<-reached
	other := make(chan error, 1)
	go func() {
		_, err := src.Credential(t.Context())
		other <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that went: %v", err)
	}
	close(goOn)
	must(t, <-other)
	if calls.Load() != 1 {
		t.Errorf("%d mints", calls.Load())
	}
}
