package valetkey_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const rebuild = "s3-bucket-rebuild"

var bucket = valetkey.Params{"bucket": {"prod"}}

// people is a broker on which two of group sre have to approve a rebuild.
type people struct {
	*brokertest.Harness
	bob, carol brokertest.Person
}

func withPeople(t *testing.T) *people {
	t.Helper()
	p := &people{bob: brokertest.NewPerson(t, "bob", "sre"), carol: brokertest.NewPerson(t, "carol", "sre")}
	p.Harness = brokertest.NewRunning(t, brokertest.Config{
		Guard: guard.Config{RatePerMinute: 600_000, Burst: 10_000}, People: []brokertest.Person{p.bob, p.carol},
	})
	return p
}

func (p *people) decide(t *testing.T, who brokertest.Person, grant string, d evidence.Decision) {
	t.Helper()
	_, err := p.Decide(who, grant, d)
	must(t, err)
}

func (p *people) approve(t *testing.T, grant string) {
	t.Helper()
	p.decide(t, p.bob, grant, evidence.Approve)
	p.decide(t, p.carol, grant, evidence.Approve)
}

// lapse lets more time pass than people have, as the broker sees it.
func (p *people) lapse(t *testing.T, grant string) {
	t.Helper()
	p.Clock.Add(quorum.DefaultWait + time.Second)
	p.ends(t, grant, valetkeyv1.GrantState_GRANT_STATE_LAPSED)
}

// ends waits for a grant's end.
func (p *people) ends(t *testing.T, grant string, want valetkeyv1.GrantState) {
	t.Helper()
	brokertest.Eventually(t, grant+" is "+want.String(), func() bool { return p.State(grant) == want })
}

// answer is what a request in the background came to.
type answer struct {
	grant *valetkey.Grant
	cred  valetkey.Credential
	err   error
}

// requestWaiting asks in the background, and returns once that waits for people.
func requestWaiting(ctx context.Context, t *testing.T, task *valetkey.Task) (waits *valetkey.Grant, got chan answer) {
	t.Helper()
	pending := make(chan *valetkey.Grant, 1)
	got = make(chan answer, 1)
	go func() {
		g, cred, err := task.RequestCredential(ctx, rebuild, bucket, valetkey.WithWait(), valetkey.WithOnPending(func(g *valetkey.Grant) { pending <- g }))
		got <- answer{g, cred, err}
	}()
	select {
	case g := <-pending:
		return g, got
	case a := <-got:
		t.Fatalf("it does not wait: %v", a.err)
	}
	return nil, nil
}

func TestTwoPeopleApprove(t *testing.T) {
	p := withPeople(t)
	task := open(t, dial(t, p.Harness))
	g, got := requestWaiting(t.Context(), t, task)
	if !slices.Equal(g.Needs(), []valetkey.Need{{Group: "sre", Approvals: 2}}) || time.Until(g.DecideBy()) > quorum.DefaultWait || g.DecideBy().IsZero() || !g.ExpiresAt().IsZero() {
		t.Errorf("it needs %v by %v and expires at %v", g.Needs(), g.DecideBy(), g.ExpiresAt())
	}
	p.approve(t, g.ID())
	a := <-got
	must(t, a.err)
	if !a.cred.Receipt().Verified || a.grant.ID() != g.ID() || a.grant.Needs() != nil || time.Until(a.grant.ExpiresAt()) > 5*time.Minute {
		t.Errorf("%s needs %v and expires at %v", a.grant.ID(), a.grant.Needs(), a.grant.ExpiresAt())
	}
}

// TestWaitIsCutShort ends the wait, and not the request.
func TestWaitIsCutShort(t *testing.T) {
	for name, after := range map[string]func(*people, *valetkey.Grant, *valetkey.Client){
		"and another goes on": func(p *people, g *valetkey.Grant, c *valetkey.Client) {
			again, err := c.Grant(t.Context(), g.ID())
			must(t, err)
			if _, err := again.Mint(t.Context()); !errors.Is(err, valetkey.ErrNeedsApproval) {
				t.Errorf("minting too soon: %v", err)
			}
			p.approve(t, g.ID())
			must(t, again.Wait(t.Context()))
			_, err = again.Mint(t.Context())
			must(t, err)
		},
		"and it is given back": func(p *people, g *valetkey.Grant, _ *valetkey.Client) {
			must(t, g.Release(t.Context()))
			if _, err := p.Decide(p.bob, g.ID(), evidence.Approve); err == nil || !strings.Contains(err.Error(), "waits for nobody") {
				t.Errorf("approving what was given back: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := withPeople(t)
			c := dial(t, p.Harness)
			ctx, cancel := context.WithCancel(t.Context())
			_, got := requestWaiting(ctx, t, open(t, c))
			cancel()
			a := <-got
			if !errors.Is(a.err, context.Canceled) || a.grant == nil || a.grant.State() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
				t.Fatalf("%v: %v", a.grant, a.err)
			}
			after(p, a.grant, dial(t, p.Harness))
		})
	}
}

func TestPeopleSayNoOrNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		decide func(*people, string)
		want   []error
		other  error
	}{
		"no":      {func(p *people, id string) { p.decide(t, p.bob, id, evidence.Reject) }, []error{valetkey.ErrRejected, valetkey.ErrDenied}, valetkey.ErrGrantEnded},
		"nothing": {func(p *people, id string) { p.lapse(t, id) }, []error{valetkey.ErrLapsed, valetkey.ErrGrantEnded}, valetkey.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			p := withPeople(t)
			g, got := requestWaiting(t.Context(), t, open(t, dial(t, p.Harness)))
			tt.decide(p, g.ID())
			a := <-got
			_, minted := a.grant.Mint(t.Context())
			for _, err := range []error{a.err, minted} {
				for _, want := range tt.want {
					if !errors.Is(err, want) || errors.Is(err, tt.other) {
						t.Errorf("%v, want %v", err, want)
					}
				}
			}
		})
	}
}

// TestBrokerRestartsMeanwhile has people approve at another broker than was asked.
func TestBrokerRestartsMeanwhile(t *testing.T) {
	p := withPeople(t)
	f := newFront(t, p.Addr())
	g, got := requestWaiting(t.Context(), t, open(t, dial(t, p.Harness, valetkey.WithAddr(f.addr()))))
	p.decide(t, p.bob, g.ID(), evidence.Approve)
	f.point("")
	p.Stop()
	p.Start()
	p.decide(t, p.carol, g.ID(), evidence.Approve)
	f.point(p.Addr())
	a := <-got
	must(t, a.err)
	if p.Asked() != 1 {
		t.Errorf("people were asked %d times", p.Asked())
	}
}

// rebuilder is a source that people have to approve, by a clock of its own, and how
// often it has asked the broker for a grant.
type rebuilder struct {
	*valetkey.Source
	*clienttest.Clock
	task     *valetkey.Task
	requests atomic.Int64
	told     atomic.Int64
}

func (p *people) source(t *testing.T, opts ...valetkey.RequestOption) *rebuilder {
	t.Helper()
	r := &rebuilder{Clock: &clienttest.Clock{}}
	between := &meddler{ClientConnInterface: p.Dial(brokertest.Agent), before: func(method string, _ proto.Message) error {
		if method == valetkeyv1.AgentService_RequestGrant_FullMethodName {
			r.requests.Add(1)
		}
		return nil
	}}
	r.task = open(t, dial(t, p.Harness, valetkey.WithConn(between), valetkey.WithClock(r.Now)))
	r.Source = r.task.Source(rebuild, bucket, append(opts, valetkey.WithOnPending(func(*valetkey.Grant) { r.told.Add(1) }))...)
	return r
}

// waits has the source ask people, and gives the grant that it says waits.
func (r *rebuilder) waits(t *testing.T) string {
	t.Helper()
	var refused *valetkey.Error
	brokertest.Eventually(t, "it waits for people", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _ = r.Credential(ctx) // Status has why not
		return r.Status().Pending != nil
	})
	st := r.Status()
	if !errors.Is(st.Err, valetkey.ErrNeedsApproval) || !errors.As(st.Err, &refused) || refused.GrantID != st.Pending.ID() || len(refused.Needs) != 1 {
		t.Errorf("the status says %v", st.Err)
	}
	return st.Pending.ID()
}

// has fetches until there is a credential of a grant.
func (r *rebuilder) has(t *testing.T, grant string) valetkey.Credential {
	t.Helper()
	var cred valetkey.Credential
	brokertest.Eventually(t, "it has a credential of "+grant, func() bool {
		r.Add(6 * time.Second) // it looks every five
		var err error
		cred, err = r.Credential(t.Context())
		return err == nil && cred.GrantID() == grant
	})
	if st := r.Status(); st.Pending != nil || st.Err != nil {
		t.Errorf("it still waits: %v, %v", st.Pending, st.Err)
	}
	return cred
}

// fetches asks many times in a while, and wants what there was or an error.
func (r *rebuilder) fetches(t *testing.T, n int, step time.Duration, want error) {
	t.Helper()
	for range n {
		r.Add(step)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := r.Credential(ctx)
		cancel()
		if !errors.Is(err, want) {
			t.Fatalf("fetching: %v, want %v", err, want)
		}
		brokertest.Eventually(t, "the refresh is over", func() bool { return !r.Status().Renewing })
	}
}

func (r *rebuilder) hasAsked(t *testing.T, p *people, want int) {
	t.Helper()
	if r.requests.Load() != int64(want) || r.told.Load() != int64(want) || p.Asked() != want {
		t.Errorf("it asked %d times, told of %d, and people were asked %d times; want %d", r.requests.Load(), r.told.Load(), p.Asked(), want)
	}
}

var ways = map[string][]valetkey.RequestOption{"looking": nil, "waiting": {valetkey.WithWait()}, "watching": {valetkey.WithWatch()}}

// TestSourceAsksPeopleOnce follows a source through an approval, the next, and a no.
func TestSourceAsksPeopleOnce(t *testing.T) {
	for name, opts := range ways {
		t.Run(name, func(t *testing.T) {
			p := withPeople(t)
			r := p.source(t, opts...)
			first := r.waits(t)
			if name == "looking" {
				r.fetches(t, 20, 6*time.Second, valetkey.ErrNeedsApproval)
			}
			r.hasAsked(t, p, 1)
			p.approve(t, first)
			r.has(t, first)

			// More than three quarters of the life that was approved are over.
			r.Add(4 * time.Minute)
			second := r.waits(t)
			cred, err := r.Credential(t.Context())
			must(t, err)
			if cred.GrantID() != first || second == first {
				t.Errorf("while the next waits it gives %s", cred.GrantID())
			}
			if name == "looking" {
				r.fetches(t, 5, 6*time.Second, nil)
			}
			r.hasAsked(t, p, 2)
			p.approve(t, second)
			r.has(t, second)

			r.Add(4 * time.Minute)
			third := r.waits(t)
			p.decide(t, p.bob, third, evidence.Reject)
			brokertest.Eventually(t, "the no is seen", func() bool {
				r.Add(6 * time.Second)
				_, _ = r.Credential(t.Context()) // gives what it has, while that lives
				return errors.Is(r.Status().Err, valetkey.ErrRejected)
			})
			r.Add(5 * time.Minute)
			r.fetches(t, 30, 5*time.Minute, valetkey.ErrRejected)
			r.hasAsked(t, p, 3)
			must(t, r.Release(t.Context()))
		})
	}
}

// TestSourceAfterALapse asks again when somebody comes, and not within a minute.
func TestSourceAfterALapse(t *testing.T) {
	for name, opts := range ways {
		t.Run(name, func(t *testing.T) {
			p := withPeople(t)
			r := p.source(t, opts...)
			p.lapse(t, r.waits(t))
			brokertest.Eventually(t, "the lapse is seen", func() bool { return errors.Is(r.Status().Err, valetkey.ErrLapsed) || name != "waiting" })
			r.Add(6 * time.Second)
			r.fetches(t, 20, 2*time.Second, valetkey.ErrLapsed)
			r.hasAsked(t, p, 1)
			r.Add(30 * time.Second)
			second := r.waits(t)
			r.hasAsked(t, p, 2)
			p.approve(t, second)
			r.has(t, second)
		})
	}
}

// TestSourceEndsWhileItWaits leaves nothing for people to decide, and at once.
func TestSourceEndsWhileItWaits(t *testing.T) {
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // people have minutes
	defer cancel()
	for how, end := range map[string]func(*rebuilder) error{
		"release": func(r *rebuilder) error { return r.Release(soon) },
		"close":   func(r *rebuilder) error { return r.task.Close(soon) },
	} {
		for name, opts := range ways {
			t.Run(how+" "+name, func(t *testing.T) {
				p := withPeople(t)
				r := p.source(t, opts...)
				id := r.waits(t)
				must(t, end(r))
				p.ends(t, id, valetkeyv1.GrantState_GRANT_STATE_RELEASED)
				brokertest.Eventually(t, "the wait is over", func() bool { return !r.Status().Renewing })
				if _, err := r.Credential(t.Context()); !errors.Is(err, valetkey.ErrClosed) || r.Status().Pending != nil {
					t.Errorf("then: %v, and %v waits", err, r.Status().Pending)
				}
				r.hasAsked(t, p, 1)
			})
		}
	}
}

// TestTooManyStreams has a source wait that may not follow its grant.
func TestTooManyStreams(t *testing.T) {
	p := &people{bob: brokertest.NewPerson(t, "bob", "sre"), carol: brokertest.NewPerson(t, "carol", "sre")}
	p.Harness = brokertest.NewRunning(t, brokertest.Config{People: []brokertest.Person{p.bob, p.carol}, Watches: 1})
	r := p.source(t, valetkey.WithWait())
	g, err := r.task.Request(t.Context(), "s3-prefix-read", params)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := p.AgentClient(brokertest.Agent).WatchGrant(ctx, &valetkeyv1.WatchGrantRequest{GrantId: g.ID()})
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	if _, err := r.Credential(t.Context()); !errors.Is(err, valetkey.ErrNeedsApproval) {
		t.Fatalf("with one stream too many: %v", err)
	}
	id := r.waits(t)
	cancel()
	p.approve(t, id)
	r.has(t, id)
	if p.Asked() != 1 {
		t.Errorf("people were asked %d times", p.Asked())
	}
}

// TestSourceFromWhatWaits goes on with another process's request.
func TestSourceFromWhatWaits(t *testing.T) {
	p := withPeople(t)
	c := dial(t, p.Harness)
	task := open(t, c)
	g, err := task.Request(t.Context(), rebuild, bucket)
	must(t, err)
	src := task.SourceFrom(g, valetkey.WithWait())
	got := make(chan error, 1)
	go func() {
		cred, err := src.Credential(t.Context())
		if err == nil && cred.GrantID() != g.ID() {
			err = errors.New("it is of another grant")
		}
		got <- err
	}()
	p.approve(t, g.ID())
	must(t, <-got)
	if p.Asked() != 1 {
		t.Errorf("people were asked %d times", p.Asked())
	}
}

// TestNoAfterYes ends what was approved, and is not asked about again: neither by
// the source that sees it, nor to any effect by another.
func TestNoAfterYes(t *testing.T) {
	p := withPeople(t)
	r := p.source(t, valetkey.WithWatch())
	id := r.waits(t)
	p.approve(t, id)
	r.has(t, id)
	p.decide(t, p.bob, id, evidence.Reject)
	brokertest.Eventually(t, "the source has let go", func() bool { return r.Status().CredentialID == "" })
	r.fetches(t, 10, 5*time.Minute, valetkey.ErrRejected)
	r.hasAsked(t, p, 1)
	if _, _, err := r.task.RequestCredential(t.Context(), rebuild, bucket); !errors.Is(err, valetkey.ErrRejected) || p.Asked() != 1 {
		t.Errorf("asked anew: %v", err)
	}
}
