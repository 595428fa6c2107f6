// Package upstream holds what both Minters need around a call: a deadline, and a
// breaker that stops calling an upstream that is down. It decides nothing.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/valetkey/valetkey/broker/mint"
)

// DefaultTimeout bounds one call when the configuration says nothing.
const DefaultTimeout = 5 * time.Second

// The breaker opens after this many failures in a row, and lets one call try again
// after openFor.
const (
	maxFailures = 5
	openFor     = 10 * time.Second
)

// Upstream guards the calls to one role at one server. Safe for concurrent use.
type Upstream struct {
	breaker *gobreaker.CircuitBreaker[any]
	timeout time.Duration
}

// New names the upstream for messages; a zero timeout is DefaultTimeout.
func New(name string, timeout time.Duration) *Upstream {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &Upstream{timeout: timeout, breaker: gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name:        name,
		Timeout:     openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= maxFailures },
		// A refusal is an answer: one caller's bad order must not stop the others.
		IsSuccessful: func(err error) bool {
			return err == nil || !errors.Is(err, mint.ErrUnavailable) && !errors.Is(err, mint.ErrInvalid)
		},
		// A caller that hangs up says nothing about the upstream.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
	})}
}

// Do runs call under the deadline unless the breaker is open, which is ErrUnavailable
// and sends nothing. call returns errors that wrap mint's sentinels.
func (u *Upstream) Do(ctx context.Context, call func(context.Context) error) error {
	if ctx.Err() != nil {
		return mint.Harmless(fmt.Errorf("calling %s: %w: %w", u.breaker.Name(), mint.ErrUnavailable, ctx.Err()))
	}
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	_, err := u.breaker.Execute(func() (any, error) { return nil, call(ctx) })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return mint.Harmless(fmt.Errorf("calling %s: %w: %w", u.breaker.Name(), mint.ErrUnavailable, err))
	}
	return err
}

// Cleanup returns a context for undoing what a failed call left: it outlives the
// caller's cancellation and has its own deadline.
func (u *Upstream) Cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), u.timeout)
}

// ErrNotConnected marks a call that never reached the upstream, and so may be repeated.
var ErrNotConnected = errors.New("connection refused")

// Unanswered classifies a call that ended without an answer. It keeps nothing of err's
// text, which can hold what was sent.
func Unanswered(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return mint.Harmless(fmt.Errorf("calling %s: %w: %w", name, mint.ErrUnavailable, ErrNotConnected))
	case ctx.Err() != nil:
		return fmt.Errorf("calling %s: %w: %w", name, mint.ErrUnavailable, ctx.Err())
	default:
		return fmt.Errorf("calling %s: no answer: %w", name, mint.ErrUnavailable)
	}
}

// NoOwn is for when the broker's own credential, named by what, could not be fetched:
// nothing was sent. Why is left out, since it can quote the credential.
func NoOwn(ctx context.Context, what string) error {
	err := fmt.Errorf("fetching the broker's own %s: %w", what, mint.ErrUnavailable)
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, ctx.Err())
	}
	return mint.Harmless(err)
}
