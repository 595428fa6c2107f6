package valetkey

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// scarce is what is left of a life when a caller waits for the next.
const scarce = 10 * time.Second

// Source keeps one credential fresh for one scope of one task. It answers from
// memory, and only while somebody asks: from about two thirds of a credential's
// life on, at a random moment, it gets the next one in the background, with one
// call however many ask. While the broker is away it gives what it has until that
// dies. A refusal is remembered for a minute, or for as long as the broker says.
//
// Where people have to approve, they are asked once, for the first credential and
// then for the one after each approved grant, and the answer is ErrNeedsApproval
// until they have. What lapsed is asked for anew by who comes a minute later. What
// people rejected is not asked for again: that takes another Source. A grant that was
// revoked is replaced by a new one, but with WithOnEnded.
//
// It is safe for concurrent use.
type Source struct {
	t   *Task
	req request

	mu        sync.Mutex
	held      Credential // may be over; locked by mu
	grant     *Grant     // the newest, which held may be of; locked by mu
	older     []*Grant   // whose credentials may still be in use; locked by mu
	renewAt   time.Time  // locked by mu
	notBefore time.Time  // no try before; locked by mu
	noMore    bool       // no try ever: people said no; locked by mu
	failed    int        // tries in a row; locked by mu
	lastErr   error      // of the last try; nil after a success; locked by mu
	told      outcome    // of the last try, as it was logged; locked by mu
	flight    *flight    // locked by mu
	unwait    func()     // ends the flight's wait for people; nil for none; locked by mu
	// followed is the grant that is watched, until unfollow; nil for none. Locked by mu.
	followed *Grant
	unfollow context.CancelFunc
	stopped  error // why there is nothing more to get; locked by mu
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

// SourceFrom makes a source that begins with a grant there is, such as one that
// waits for people, and goes on with new ones of the same scope and parameters.
func (t *Task) SourceFrom(g *Grant, opts ...RequestOption) *Source {
	info := g.Info()
	params := Params{}
	for name, v := range info.GetParameters() {
		params[name] = v.GetValues()
	}
	s := t.Source(info.GetScope(), params, opts...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant = g
	return s
}

// Scope is the name of the scope that the source's credentials are of.
func (s *Source) Scope() string { return s.req.scope }

// Status is what a source knows of itself. It holds no secret.
type Status struct {
	// CredentialID and GrantID are of what is held; empty for nothing.
	CredentialID, GrantID string
	// ExpiresAt is when what is held dies. RenewAt is when the next is got, if
	// somebody asks. Both are by this machine's clock, and zero for nothing.
	ExpiresAt, RenewAt time.Time
	// Pending is the grant that waits for people; nil for none. What is held goes on
	// meanwhile.
	Pending *Grant
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
		if s.grant.pending() {
			st.Pending = s.grant
		}
		if s.grant.pending() && (st.Err == nil || st.Renewing) {
			st.Err = s.grant.ready()
		}
	}
	if s.held.Valid() {
		st.CredentialID, st.GrantID, st.ExpiresAt, st.RenewAt = s.held.ID(), s.held.GrantID(), s.held.ExpiresAt(), s.renewAt
	}
	if s.stopped != nil {
		st.Err, st.Pending = s.stopped, nil
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
		if s.noMore || now.Before(s.notBefore) && !s.decidedLocked() {
			defer s.mu.Unlock()
			if alive {
				return held, nil
			}
			return Credential{}, s.lastErr
		}
		f = s.startLocked(ctx)
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
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.stopped != nil {
			return Credential{}, s.stopped // what is held was ended with its task
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

// Forget drops what is held, so that the next Credential gets another, as when
// whoever uses it sees that it was revoked. WithWatch does so by itself.
func (s *Source) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.renewAt = Credential{}, time.Time{}
}

// Release gives back what the source has been granted, which ends its credentials,
// and ends the source: Credential then fails with ErrClosed. After an error it may be called again, for what is left.
func (s *Source) Release(ctx context.Context) error {
	s.stop()
	s.t.drop(s)
	s.mu.Lock()
	f := s.flight
	s.mu.Unlock()
	if f != nil {
		// It may bring a grant yet. How it went does not matter here.
		if _, err := f.wait(ctx); ctx.Err() != nil {
			return err
		}
	}
	s.mu.Lock()
	all := s.older
	if s.grant != nil {
		all = append(all, s.grant)
	}
	s.grant, s.older = nil, nil
	s.mu.Unlock()
	var errs []error
	var left []*Grant
	for _, g := range all {
		if err := g.Release(ctx); err != nil {
			errs, left = append(errs, err), append(left, g)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.older = append(s.older, left...)
	return errors.Join(errs...)
}

func (s *Source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = fmt.Errorf("the source of scope %s: %w", s.req.scope, ErrClosed)
	}
	s.held = Credential{}
	s.unfollowLocked()
	if s.unwait != nil {
		s.unwait()
	}
}
