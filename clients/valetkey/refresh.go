package valetkey

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	// refreshTimeout bounds one refresh where nobody has to be waited for.
	refreshTimeout = time.Minute
	// maxRetryPause is between refreshes while the broker is away.
	maxRetryPause = 30 * time.Second
	// refusalFor is how long a refusal is the answer before anybody who asks is a
	// reason to ask the broker again.
	refusalFor = time.Minute
	// pendingPause is between two looks at a grant that waits for people.
	pendingPause = 5 * time.Second
)

// startLocked begins a refresh, which outlives the call that caused it. nil
// means that the client is closed.
func (s *Source) startLocked(ctx context.Context) *flight {
	f := &flight{done: make(chan struct{})}
	// The caller's values go along, such as its trace; its end does not.
	ctx = context.WithoutCancel(ctx)
	if !s.t.c.goDo(func() { s.refresh(ctx, f) }) {
		return nil
	}
	s.flight = f
	return f
}

func (s *Source) refresh(ctx context.Context, f *flight) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.t.c.ctx, func() { cancel(ErrClosed) })()
	if !s.req.wait {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, refreshTimeout, ErrUnavailable)
		defer stop()
	}
	g, cred, err := s.obtain(ctx)
	if err == nil && s.req.onCredential != nil {
		s.req.onCredential(cred)
	}
	s.land(ctx, f, g, cred, err)
	close(f.done)
}

// land takes over what a refresh has brought.
func (s *Source) land(ctx context.Context, f *flight, g *Grant, cred Credential, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLocked(ctx, err)
	s.flight = nil
	if g != nil && g != s.grant {
		s.leaveLocked()
		s.grant = g
	}
	if err == nil && s.stopped != nil {
		err = s.stopped // what came too late ends with its task, or with the Release that waits for this
	}
	if f.cred, f.err = cred, err; err != nil {
		f.cred = Credential{}
		s.failLocked(err)
		return
	}
	s.held, s.lastErr, s.failed, s.notBefore = cred, nil, 0, time.Time{}
	if s.req.watch && s.grant != nil && s.followed != s.grant {
		s.followLocked(s.grant)
	}
	// By the wall clock, which goes on while a machine sleeps.
	s.renewAt = cred.received.Round(0).Add(renewAfter(cred.expires.Sub(cred.received)))
}

// outcome is how a refresh went.
type outcome int

const (
	brought outcome = iota // a credential
	waits                  // for people
	failed
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return brought
	case errors.Is(err, ErrNeedsApproval):
		return waits
	default:
		return failed
	}
}

// tellLocked logs the first of several alike in a row; Status has the others. To
// wait for people is no failure.
func (s *Source) tellLocked(ctx context.Context, err error) {
	now := outcomeOf(err)
	if now == s.told || s.stopped != nil || s.t.c.ctx.Err() != nil {
		return
	}
	s.told = now
	scope, task := slog.String("scope", s.req.scope), slog.String("task", s.t.id)
	switch now {
	case waits:
		s.t.c.cfg.log.InfoContext(ctx, "a credential waits for people to approve", scope, task, slog.String("reason", err.Error()))
	case failed:
		s.t.c.cfg.log.WarnContext(ctx, "getting a credential failed", scope, task, slog.String("error", err.Error()))
	default: // all is well
	}
}

// followLocked watches a grant in place of the one before.
func (s *Source) followLocked(g *Grant) {
	s.unfollowLocked()
	ctx, cancel := context.WithCancel(s.t.c.ctx)
	if s.t.c.goDo(func() { s.follow(ctx, g) }) {
		s.followed, s.unfollow = g, cancel
		return
	}
	cancel()
}

func (s *Source) unfollowLocked() {
	if s.unfollow != nil {
		s.unfollow()
	}
	s.followed, s.unfollow = nil, nil
}

// follow drops what is held when its grant was ended before its time.
func (s *Source) follow(ctx context.Context, g *Grant) {
	for info, err := range g.Watch(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				s.t.c.cfg.log.WarnContext(ctx, "following a grant failed", slog.String("grant", g.ID()), slog.String("error", err.Error()))
			}
			return
		}
		if !ended(info.GetState()) {
			continue
		}
		s.mu.Lock()
		if s.req.ends && cutShort(g) {
			s.endLocked(g)
		} else if s.held.GrantID() == g.ID() {
			s.held, s.renewAt = Credential{}, time.Time{}
			if !s.noMore {
				s.lastErr = g.ready()
			}
		}
		s.mu.Unlock()
		return
	}
}

// cutShort says whether a grant was ended before its time, as it was last seen. What
// people rejected never began.
func cutShort(g *Grant) bool {
	switch g.State() {
	case valetkeyv1.GrantState_GRANT_STATE_REVOKED, valetkeyv1.GrantState_GRANT_STATE_RELEASED:
		return true
	default:
		return false
	}
}

// endLocked ends the source with a grant that was cut short.
func (s *Source) endLocked(g *Grant) {
	if s.stopped != nil {
		return
	}
	s.stopped, s.held = g.ready(), Credential{}
	s.unfollowLocked()
	if s.unwait != nil {
		s.unwait()
	}
	if s.req.ended != nil {
		_ = s.t.c.goDo(func() { s.req.ended(g) }) // a client that is closed has ended all by itself
	}
}

// leaveLocked keeps the newest grant for Release alone.
func (s *Source) leaveLocked() {
	now := s.t.c.cfg.now()
	if s.grant != nil {
		s.older, s.grant = append(s.older, s.grant), nil
	}
	s.older = slices.DeleteFunc(s.older, func(g *Grant) bool { return ended(g.State()) || !g.pending() && g.ExpiresAt().Before(now) })
}

// renewAfter is between 60 and 75 percent of a life. It divides first: a broker may name the year 9999, and a product
// that overflows would have rand.N end the program.
func renewAfter(life time.Duration) time.Duration {
	return life/100*60 + rand.N(life/100*15+1) //nolint:gosec // spreads callers out; nothing to guess
}

func (s *Source) failLocked(err error) {
	s.lastErr = err
	now := s.t.c.cfg.now()
	refused, no := RefusalOf(err)
	pending := s.grant != nil && s.grant.pending()
	switch {
	case s.req.ends && s.grant != nil && cutShort(s.grant):
		s.endLocked(s.grant)
	case errors.Is(err, ErrTaskClosed), errors.Is(err, ErrTaskNotFound), errors.Is(err, ErrClosed):
		// What the task had was ended with it.
		s.stopped, s.held = err, Credential{}
	case errors.Is(err, ErrRejected):
		s.noMore = true // who asks people again is the program, not its refresh
		s.leaveLocked()
	case errors.Is(err, ErrNeedsApproval) && pending:
		s.notBefore = now.Add(pendingPause)
	case refused.RetryAfter > 0:
		s.notBefore = now.Add(refused.RetryAfter)
	case !passing(err):
		s.notBefore = now.Add(refusalFor)
		if !pending {
			s.leaveLocked() // a denial stays a denial: what is asked next is a new grant
		}
	case no || s.held.Valid() && now.Before(s.held.expires):
		s.notBefore = now.Add(pause(s.failed+3, maxRetryPause))
		s.failed++
	}
}

// decidedLocked says that people have decided what was waited for, as somebody has
// seen.
func (s *Source) decidedLocked() bool {
	return errors.Is(s.lastErr, ErrNeedsApproval) && s.grant != nil && !s.grant.pending()
}

// passing are failures that are no decision: the broker could not, or was not
// there, this time. All else is held against for a while, above all a receipt that
// proves nothing: asking again would mint again.
func passing(err error) bool {
	return Passing(err) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBrokerIdentity)
}

// spare is by how much a grant must outlive its credential to be worth minting
// from again.
const spare = 30 * time.Second

// obtain mints from the grant there is, where that is new or gives a longer life, or
// asks for another. One that lapsed is not replaced in the same breath: people were
// asked for long enough.
func (s *Source) obtain(ctx context.Context) (*Grant, Credential, error) {
	s.mu.Lock()
	g, held := s.grant, s.held
	s.mu.Unlock()
	if g != nil && (g.ID() != held.GrantID() || g.ExpiresAt().Sub(held.ends) > spare) {
		cred, err := s.mintFrom(ctx, g)
		if errors.Is(err, ErrLapsed) || !errors.Is(err, ErrGrantEnded) && !errors.Is(err, ErrGrantNotFound) {
			return g, cred, err
		}
	}
	if s.req.ends && g != nil {
		if err := s.ranOut(ctx, g); err != nil {
			return g, Credential{}, err
		}
	}
	g, cred, err := s.t.RequestCredential(ctx, s.req.scope, s.req.params, s.options()...)
	if s.req.wait && g != nil && g.pending() {
		cred, err = s.mintFrom(ctx, g)
	}
	return g, cred, err
}

// ranOut looks whether a grant that gives no more came to its end by itself; one that
// was cut short is not replaced.
func (s *Source) ranOut(ctx context.Context, g *Grant) error {
	if !ended(g.State()) {
		if err := g.Refresh(ctx); err != nil {
			return err
		}
	}
	if cutShort(g) {
		return g.ready()
	}
	return nil
}

// mintFrom mints from a grant that may have waited for people since.
func (s *Source) mintFrom(ctx context.Context, g *Grant) (Credential, error) {
	if g.ready() != nil {
		look := g.Refresh
		if s.req.wait {
			look = func(ctx context.Context) error { return s.await(ctx, g) }
		}
		if err := look(ctx); err != nil {
			return Credential{}, err
		}
		if err := g.ready(); err != nil {
			return Credential{}, err
		}
	}
	return g.Mint(ctx)
}

// await waits for people, for as long as the source is there.
func (s *Source) await(ctx context.Context, g *Grant) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	if s.stopped != nil {
		defer s.mu.Unlock()
		return s.stopped
	}
	if g != s.grant { // for Status and Release, which do not wait for the flight
		s.leaveLocked()
		s.grant = g
	}
	s.unwait = func() { cancel(ErrClosed) }
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unwait = nil
	}()
	if err := g.Wait(ctx); !errors.Is(err, ErrRateLimited) {
		return err
	}
	return nil // as many streams as may be are open: it is looked at now and then
}

// options are those of the request. The source waits by itself, with the grant in
// its hands.
func (s *Source) options() []RequestOption {
	return []RequestOption{func(r *request) { *r = s.req; r.wait = false }}
}
