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
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
	vkaws "github.com/valetkey/valetkey/clients/valetkey/aws"
)

// TestOneMintForMany has many callers ask at once, at first and at each renewal.
func TestOneMintForMany(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
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
		clock.Add(12 * time.Minute)
	}
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

// TestClockSkew sets the program's clock apart from the broker's.
func TestClockSkew(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 0, time.Second, 10 * time.Minute, 24 * time.Hour} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			h := start(t)
			now := func() time.Time { return time.Now().Add(off) }
			p := vkaws.NewProvider(open(t, dial(t, h, valetkey.WithClock(now))).Source("s3-prefix-read", params))
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
	p := vkaws.NewProvider(open(t, dial(t, h)).Source("s3-prefix-read", params))
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

// TestReleaseAll releases a source while the credential before its last still lives.
func TestReleaseAll(t *testing.T) {
	h := start(t)
	clock := &clienttest.Clock{}
	task := open(t, dial(t, h, valetkey.WithClock(clock.Now)))
	src, other := task.Source("s3-prefix-read", params), task.Source("s3-prefix-read", params)
	for range 2 {
		for _, s := range []*valetkey.Source{src, other} {
			_, err := s.Credential(t.Context())
			must(t, err)
			brokertest.Eventually(t, "the refresh is over", func() bool { return !s.Status().Renewing })
		}
		clock.Add(12 * time.Minute)
	}
	if n := h.Minter.Live(); n != 4 {
		t.Errorf("%d live", n)
	}
	must(t, src.Release(t.Context()))
	must(t, src.Release(t.Context()))
	brokertest.Eventually(t, "the other's alone live", func() bool { return h.Minter.Live() == 2 })
}

// TestSourceFrom goes on from a grant that another process has asked for.
func TestSourceFrom(t *testing.T) {
	h := start(t)
	c := dial(t, h)
	task := open(t, c)
	g, err := task.Request(t.Context(), "s3-prefix-read", params)
	must(t, err)
	found, err := c.Grant(t.Context(), g.ID())
	must(t, err)
	src := c.Task(task.ID()).SourceFrom(found)
	first, err := src.Credential(t.Context())
	must(t, err)
	if first.GrantID() != g.ID() {
		t.Error("it is of another grant")
	}
	must(t, g.Release(t.Context()))
	src.Forget()
	second, err := src.Credential(t.Context())
	must(t, err)
	if second.GrantID() == g.ID() {
		t.Error("it is of a grant that has ended")
	}
}

// TestWatch has an operator revoke what a source holds, and what it holds next.
func TestWatch(t *testing.T) {
	h := start(t)
	src := open(t, dial(t, h)).Source("s3-prefix-read", params, valetkey.WithWatch())
	last := ""
	for range 3 {
		cred, err := src.Credential(t.Context())
		must(t, err)
		if cred.GrantID() == last {
			t.Error("it is of the revoked grant")
		}
		last = cred.GrantID()
		revoke(t, h, last)
		brokertest.Eventually(t, "the source has let go", func() bool {
			st := src.Status()
			return st.CredentialID == "" && errors.Is(st.Err, valetkey.ErrGrantEnded)
		})
	}
}

// TestOnEnded has an operator revoke what a source holds that ends with its grant: at
// once where it watches, and else when it would renew.
func TestOnEnded(t *testing.T) {
	for name, watch := range map[string]bool{"watched": true, "not watched": false} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			clock := &clienttest.Clock{}
			told := make(chan string, 10)
			var came sync.Map
			opts := []valetkey.RequestOption{
				valetkey.WithOnEnded(func(g *valetkey.Grant) { told <- g.ID() }),
				valetkey.WithOnCredential(func(c valetkey.Credential) { came.Store(c.ID(), true) }),
			}
			if watch {
				opts = append(opts, valetkey.WithWatch())
			}
			src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-prefix-read", params, opts...)
			cred, err := src.Credential(t.Context())
			must(t, err)
			if _, ok := came.Load(cred.ID()); !ok {
				t.Error("a credential came, and nobody was told")
			}
			revoke(t, h, cred.GrantID())
			if !watch {
				clock.Add(14*time.Minute + 55*time.Second) // past the renewal, and short of the end
			}
			brokertest.Eventually(t, "the source has ended", func() bool {
				_, err = src.Credential(t.Context())
				return errors.Is(err, valetkey.ErrGrantEnded)
			})
			if got := <-told; got != cred.GrantID() {
				t.Errorf("told of %s, and it was %s", got, cred.GrantID())
			}
			if n := len(h.Minter.Secrets()); n != 1 || src.Status().CredentialID != "" {
				t.Errorf("%d were minted, and it holds %q", n, src.Status().CredentialID)
			}
		})
	}
	// One that came to its end by itself is followed by the next.
	h := start(t)
	clock := &clienttest.Clock{}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("s3-prefix-read", params, valetkey.WithOnEnded(func(*valetkey.Grant) { t.Error("it was told of an end") }))
	first, err := src.Credential(t.Context())
	must(t, err)
	clock.Add(16 * time.Minute)
	if next, err := src.Credential(t.Context()); err != nil || next.GrantID() == first.GrantID() {
		t.Errorf("after its end: %v", err)
	}
	// And one that is given back tells nobody.
	must(t, src.Release(t.Context()))
}
