package valetkey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
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
	// scarce is what is left of a life when a caller waits for the next.
	scarce = 10 * time.Second
)

// Source keeps one credential fresh for one scope of one task. It answers from
// memory, and only while somebody asks: from about two thirds of a credential's
// life on, at a random moment, it gets the next one in the background, with one
// call however many ask. While the broker is away it gives what it has until that
// dies. A refusal is remembered for a minute, or for as long as the broker says.
//
// It is safe for concurrent use.
type Source struct {
	t   *Task
	req request

	mu      sync.Mutex
	held    Credential // may be over; locked by mu
	grant   *Grant     // the newest, which held may be of; locked by mu
	renewAt time.Time  // locked by mu
	notTill time.Time  // no try before; locked by mu
	failed  int        // tries in a row; locked by mu
	lastErr error      // of the last try; nil after a success; locked by mu
	flight  *flight    // locked by mu
	stopped error      // why there is nothing more to get; locked by mu
}

// flight is a refresh that goes on.
type flight struct {
	done chan struct{} // closed when cred and err are set
	cred Credential
	err  error
}

// Source makes a source of credentials for a scope. Nothing is asked for until
// the first Credential. The scope's parameters are not to be changed after.
func (t *Task) Source(scope string, params Params, opts ...RequestOption) *Source {
	s := &Source{t: t, req: newRequest(scope, params, opts)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		s.stopped = fmt.Errorf("task %s: %w", t.id, ErrClosed)
		return s
	}
	t.sources = append(t.sources, s)
	return s
}

// Status is what a source knows of itself. It holds no secret.
type Status struct {
	// CredentialID and GrantID are of what is held; empty for nothing.
	CredentialID, GrantID string
	// ExpiresAt is when what is held dies. RenewAt is when the next is got, if
	// somebody asks. Both are by this machine's clock, and zero for nothing.
	ExpiresAt, RenewAt time.Time
	// Renewing says that a refresh goes on.
	Renewing bool
	// Err is why the last refresh failed; nil after a success.
	Err error
}

// Status says how the source is doing, without asking anybody.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Renewing: s.flight != nil, Err: s.lastErr}
	if s.grant != nil {
		st.GrantID = s.grant.ID()
	}
	if s.held.Valid() {
		st.CredentialID, st.GrantID, st.ExpiresAt, st.RenewAt = s.held.ID(), s.held.GrantID(), s.held.ExpiresAt(), s.renewAt
	}
	if s.stopped != nil {
		st.Err = s.stopped
	}
	return st
}

// Credential returns a credential that lives. It waits only where it holds none,
// or one with less than ten seconds to live.
func (s *Source) Credential(ctx context.Context) (Credential, error) {
	s.mu.Lock()
	now := s.t.c.cfg.now()
	if s.stopped != nil {
		defer s.mu.Unlock()
		return Credential{}, s.stopped
	}
	alive := s.held.Valid() && now.Before(s.held.expires)
	if alive && now.Before(s.renewAt) {
		defer s.mu.Unlock()
		return s.held, nil
	}
	held, left := s.held, s.held.expires.Sub(now)
	f := s.flight
	if f == nil {
		if now.Before(s.notTill) {
			defer s.mu.Unlock()
			if alive {
				return held, nil
			}
			return Credential{}, s.lastErr
		}
		f = s.launchLocked(ctx)
	}
	s.mu.Unlock()
	if f == nil {
		return Credential{}, ErrClosed
	}
	if alive && left > scarce {
		return held, nil
	}
	if alive {
		limited, cancel := context.WithTimeout(ctx, left/2)
		defer cancel()
		if cred, err := f.wait(limited); err == nil {
			return cred, nil
		}
		return held, context.Cause(ctx)
	}
	return f.wait(ctx)
}

func (f *flight) wait(ctx context.Context) (Credential, error) {
	select {
	case <-f.done:
		return f.cred, f.err
	case <-ctx.Done():
		return Credential{}, fmt.Errorf("waiting for a credential: %w", context.Cause(ctx))
	}
}

// launchLocked begins a refresh, which outlives the call that caused it. nil
// means that the client is closed.
func (s *Source) launchLocked(ctx context.Context) *flight {
	f := &flight{done: make(chan struct{})}
	// The caller's values go along, such as its trace; its end does not.
	ctx = context.WithoutCancel(ctx)
	if !s.t.c.goDo(func() { s.fly(ctx, f) }) {
		return nil
	}
	s.flight = f
	return f
}

func (s *Source) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.t.c.ctx, func() { cancel(ErrClosed) })()
	if !s.req.wait {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, refreshTimeout, ErrUnavailable)
		defer stop()
	}
	g, cred, err := s.obtain(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.lastErr == nil && s.t.c.ctx.Err() == nil { // the first in a row; Status has the others
		s.t.c.cfg.log.WarnContext(ctx, "getting a credential failed", slog.String("scope", s.req.scope), slog.String("task", s.t.id), slog.String("error", err.Error()))
	}
	defer close(f.done)
	s.flight = nil
	if g != nil {
		s.grant = g
	}
	if err == nil && s.stopped != nil {
		err = s.stopped
	}
	if f.cred, f.err = cred, err; err != nil {
		f.cred = Credential{}
		s.failLocked(err)
		return
	}
	s.held, s.lastErr, s.failed, s.notTill = cred, nil, 0, time.Time{}
	s.renewAt = cred.came.Add(renewAfter(cred.expires.Sub(cred.came)))
}

// renewAfter is between 60 and 75 percent of a life.
func renewAfter(life time.Duration) time.Duration {
	return life*60/100 + rand.N(life*15/100+1) //nolint:gosec // spreads callers out; nothing to guess
}

func (s *Source) failLocked(err error) {
	s.lastErr = err
	now := s.t.c.cfg.now()
	refused, no := RefusalOf(err)
	switch {
	case errors.Is(err, ErrTaskClosed), errors.Is(err, ErrTaskNotFound), errors.Is(err, ErrClosed):
		// What the task had was ended with it.
		s.stopped, s.held = err, Credential{}
	case errors.Is(err, ErrNeedsApproval) && s.grant != nil && s.grant.State() == valetkeyv1.GrantState_GRANT_STATE_PENDING:
		s.notTill = now.Add(pendingPause)
	case no && refused.RetryAfter > 0:
		s.notTill = now.Add(refused.RetryAfter)
	case no && !passing(err):
		s.notTill = now.Add(refusalFor)
		s.grant = nil // a denial stays a denial: what is asked next is a new grant
	case s.held.Valid() && now.Before(s.held.expires), no:
		s.notTill = now.Add(pause(s.failed+3, maxRetryPause))
		s.failed++
	}
}

// passing are refusals that are no decision: the broker could not, this time.
func passing(err error) bool {
	return errors.Is(err, ErrUpstreamUnavailable) || errors.Is(err, ErrUpstreamInvalid) || errors.Is(err, ErrLedgerUnavailable) ||
		errors.Is(err, ErrInternal) || errors.Is(err, ErrSVIDExpired)
}

// spare is by how much a grant must outlive its credential to be worth minting
// from again.
const spare = 30 * time.Second

// obtain mints from the grant there is, where that gives a longer life, or asks
// for a new one.
func (s *Source) obtain(ctx context.Context) (*Grant, Credential, error) {
	s.mu.Lock()
	g, held := s.grant, s.held
	s.mu.Unlock()
	if g != nil && (!held.Valid() || g.ExpiresAt().Sub(held.ends) > spare) {
		cred, err := s.mintFrom(ctx, g)
		if !errors.Is(err, ErrGrantEnded) && !errors.Is(err, ErrGrantNotFound) {
			return g, cred, err
		}
	}
	return s.t.RequestCredential(ctx, s.req.scope, s.req.params, s.options()...)
}

// mintFrom mints from a grant that may have waited for people since.
func (s *Source) mintFrom(ctx context.Context, g *Grant) (Credential, error) {
	if g.ready() != nil {
		if err := g.Refresh(ctx); err != nil {
			return Credential{}, err
		}
		if s.req.wait {
			if err := g.Wait(ctx); err != nil {
				return Credential{}, err
			}
		}
		if err := g.ready(); err != nil {
			return Credential{}, err
		}
	}
	return g.Mint(ctx)
}

func (s *Source) options() []RequestOption {
	return []RequestOption{func(r *request) { *r = s.req }}
}

// Forget drops what is held, so that the next Credential gets another, as when an
// operator has revoked it: whoever uses a credential sees that first.
func (s *Source) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.renewAt = Credential{}, time.Time{}
}

// Release gives the newest grant back, which ends its credentials, and ends the
// source: Credential then fails with ErrClosed.
func (s *Source) Release(ctx context.Context) error {
	s.mu.Lock()
	g := s.grant
	s.mu.Unlock()
	s.stop()
	s.t.drop(s)
	if g == nil {
		return nil
	}
	return g.Release(ctx)
}

func (s *Source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = fmt.Errorf("the source of scope %s: %w", s.req.scope, ErrClosed)
	}
	s.held = Credential{}
}
