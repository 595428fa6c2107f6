package valetkey

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrUnavailable means that the broker gave no answer, for as long as the call
// was sent again.
var ErrUnavailable = errors.New("the broker does not answer")

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// pause is the time before attempt n+1: doubling, and anywhere in its upper half,
// so that many callers do not come back at once.
func pause(n int, most time.Duration) time.Duration {
	d := min(firstPause<<min(n, 20), most)
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads callers out; nothing to guess
}

// sent is how a call went. again says that it was sent more than once, so that an
// earlier sending may have been carried out.
type sent struct{ again bool }

// call sends a call that bears its idempotency key until it has an answer. A
// refusal is an answer, whatever it says.
func call[T any](ctx context.Context, c *Client, doing string, f func(context.Context) (T, error)) (out T, how sent, err error) {
	limit := time.Now().Add(c.cfg.retryFor)
	for n := 0; ; n++ {
		how.again = n > 0
		out, err = try(ctx, c, f)
		if err == nil {
			return out, how, nil
		}
		if err = c.final(ctx, err); !errors.Is(err, errTransient) {
			return out, how, fmt.Errorf("%s: %w", doing, err)
		}
		wait := pause(n, maxPause)
		if time.Now().Add(wait).After(limit) {
			return out, how, fmt.Errorf("%s: %w after %d attempts: %w", doing, ErrUnavailable, n+1, err)
		}
		if cut := c.sleep(ctx, wait); cut != nil {
			return out, how, fmt.Errorf("%s: %w: %w", doing, cut, err)
		}
	}
}

func try[T any](ctx context.Context, c *Client, f func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.tryFor)
	defer cancel()
	out, err := f(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		c.link.distrust()
	}
	return out, err
}

// errTransient marks a failure that says nothing about what became of the call.
var errTransient = errors.New("no answer")

// final turns a failed attempt into what to tell the caller, or marks it as one
// to be made again.
func (c *Client) final(ctx context.Context, err error) error {
	if r, ok := RefusalOf(err); ok {
		return &r
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	switch {
	case errors.Is(err, ErrClosed):
		return err
	case c.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		if wrong := c.link.refused(); wrong != nil && strings.Contains(err.Error(), "handshake") {
			return fmt.Errorf("%w: %w", ErrBrokerIdentity, wrong)
		}
		return fmt.Errorf("%w: %w", errTransient, err)
	default:
		return err
	}
}

// sleep returns why it was cut short; nil when it was not.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return ErrClosed
	}
}
