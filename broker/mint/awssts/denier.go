package awssts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

const (
	// sweepAgain is the wait after a sweep that failed.
	sweepAgain = time.Minute
	// askAgain is the wait after IAM refused, or the policy was full. Every session that is to be
	// revoked meanwhile gets the same answer, so that many of them neither have IAM throttle the
	// broker nor keep other roles' revocations waiting.
	askAgain = 15 * time.Second
)

// denier keeps the deny entries of one role in its inline policy. Laws:
//
//  1. An entry is removed only once its session is over. A full policy refuses new entries, until
//     there is room.
//  2. "Denied" is said only after a read showed the entry in the policy, so that a crash, a
//     lost answer or another writer costs a repeat and nothing else.
//  3. A policy with foreign content is not written; a role with another ARN is not touched.
//  4. No try outlives the session: after its deadline there is nothing left to deny.
//  5. Operators' revocations go first, and into room that no release takes (operatorRoom). An agent
//     that ends more than its share loses its own sessions before anybody else's does not fit.
//  6. One read, change and write at a time. Who waits meanwhile goes into the next write
//     together, since IAM throttles writes.
//
// Two brokers on one policy do not take each other's entries for their own: the mark in the Sids
// makes them foreign. Replicas of one broker share the mark, and can overwrite each other between
// a read and the write that follows. Each puts back, at its next pass, all live entries that it
// has ever read, and says so; until then an entry can be missing although it was reported.
type denier struct {
	role       string        // the configured name
	longest    time.Duration // that a session can live
	cutAllowed bool
	cutsAgents bool // the server keeps aws:TokenIssueTime and patterns, so that one agent can be cut
	now        func() time.Time
	log        *slog.Logger
	policy     *rolePolicy
	parser     parser

	turn chan struct{} // holds one: whose pass it is

	mu      sync.Mutex
	waiting []*pending // guarded by mu
	roleID  string     // guarded by mu
	told    string     // the last cause that was logged; guarded by mu
	refused refusal    // guarded by mu
	room    Room       // guarded by mu
	others  time.Time  // when the other inline policies were measured; guarded by mu
	sweepAt time.Time  // when something in the policy is over; zero: unknown; guarded by mu

	// seen are all live entries ever read since the last cut. Whoever has the turn owns it.
	seen denyList
}

// pending is one caller's entry. Its pass fills it and closes done.
type pending struct {
	entry
	outcome mint.RevokeOutcome
	err     error
	done    chan struct{}
}

// refusal is why nothing can be denied, and when that was found. The zero value is none.
type refusal struct {
	cause error
	at    time.Time
}

// learn keeps the role's id from an answer of STS. It is safe on a nil denier.
func (d *denier) learn(roleID string) {
	if d == nil || roleID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roleID = roleID
}

// revoke denies the handle's session. Every error is worth a repeat, also that the permission or
// the room is missing: somebody may give it. DeadlineOnly is said once the deadline is over.
func (d *denier) revoke(ctx context.Context, h mint.Handle, urgent bool) (mint.RevokeOutcome, error) {
	if h.SessionName == "" || h.NotAfter.IsZero() {
		return mint.RevokeUnspecified, fmt.Errorf("handle has no session name or no deadline: %w", mint.ErrRefused)
	}
	if !d.now().Before(h.NotAfter) {
		d.sweep(ctx)
		return mint.DeadlineOnly, nil
	}
	// A full policy is no answer to an operator, for whom there is room.
	if err := d.stillRefused(); err != nil && (!urgent || !errors.Is(err, errFull)) {
		return mint.RevokeUnspecified, err
	}
	roleID, err := d.idOf(ctx, h)
	if errors.Is(err, mint.ErrRefused) {
		d.refuse(ctx, err)
	}
	if err != nil {
		return mint.RevokeUnspecified, err
	}
	user := roleID + ":" + h.SessionName
	if !userID.MatchString(user) {
		return mint.RevokeUnspecified, fmt.Errorf("handle's role id or session name is not legal: %w", mint.ErrRefused)
	}
	return d.deny(ctx, entry{user: user, until: slotEnd(h.NotAfter), issued: h.IssuedAt, urgent: urgent})
}

// idOf is the role's id. IAM is asked once, also to see that the role of that name is the one
// that is configured: in the broker's account there can be another role of that name.
func (d *denier) idOf(ctx context.Context, h mint.Handle) (string, error) {
	id, err := d.policy.roleID(ctx)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case h.RoleID != "":
		return h.RoleID, nil
	case d.roleID != "": // an answer's is later than IAM's: a role can be made anew
		return d.roleID, nil
	}
	return id, nil
}

func (d *denier) deny(ctx context.Context, e entry) (mint.RevokeOutcome, error) {
	p := &pending{entry: e, done: make(chan struct{})}
	d.mu.Lock()
	d.waiting = append(d.waiting, p)
	d.mu.Unlock()
	select {
	case <-p.done:
	case <-ctx.Done():
		// Whoever has the next turn still writes the entry; the repeat finds it there.
		return mint.RevokeUnspecified, fmt.Errorf("waiting for the role's policy: %w: %w", mint.ErrUnavailable, ctx.Err())
	case d.turn <- struct{}{}:
		d.pass(ctx)
		<-d.turn
		<-p.done // by this pass, or by the one before
	}
	return p.outcome, p.err
}

// pass settles all that wait. An error of its caller's context is everybody's error, and all
// of them are tried again.
func (d *denier) pass(ctx context.Context) {
	d.mu.Lock()
	batch := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := d.settle(ctx, batch)
	if errors.Is(err, mint.ErrRefused) {
		d.refuse(ctx, err)
	}
	fail(open(batch), err)
	for _, p := range batch {
		close(p.done)
	}
}

func open(batch []*pending) (out []*pending) {
	for _, p := range batch {
		if p.outcome == mint.RevokeUnspecified && p.err == nil {
			out = append(out, p)
		}
	}
	return out
}

func fail(batch []*pending, cause error) {
	for _, p := range batch {
		p.err = cause
	}
}

// refuse has IAM left alone for a while.
func (d *denier) refuse(ctx context.Context, cause error) {
	d.complain(ctx, cause)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = refusal{cause: cause, at: d.now()}
}

// stillRefused is the last refusal while it is fresh. One of a time to come is not: the clock was
// put back.
func (d *denier) stillRefused() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now().Sub(d.refused.at).Abs() < askAgain {
		return d.refused.cause
	}
	return nil
}

// sweepNext says when something in the policy is over; for an empty one, that another broker
// may have written meanwhile.
func (d *denier) sweepNext(at time.Time) {
	if at.IsZero() {
		at = d.now().Add(maxSession)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweepAt = at
}

// sweep drops what is over, when it is time and nobody else has the turn. It is called with
// sessions that ended by themselves, so that a role in use cleans up after itself.
func (d *denier) sweep(ctx context.Context) {
	d.mu.Lock()
	due := !d.now().Before(d.sweepAt)
	d.mu.Unlock()
	if !due {
		return
	}
	select {
	case d.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-d.turn }()
	_, err := d.policy.roleID(ctx)
	if err == nil {
		err = d.settle(ctx, nil)
	}
	if err == nil {
		return
	}
	d.sweepNext(d.now().Add(sweepAgain))
	d.complain(ctx, err)
}

// complain logs a cause once, until things go well again or another cause comes up.
func (d *denier) complain(ctx context.Context, cause error) {
	if !d.complained(cause.Error()) {
		d.log.ErrorContext(ctx, "sessions of a role cannot be revoked; it is tried again until their deadline",
			slog.String("role", d.role), slog.String("iam_role", d.policy.role), slog.Any("error", cause))
	}
}

// complained sets the last cause and reports whether it was that already.
func (d *denier) complained(cause string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	same := d.told == cause
	d.told = cause
	return same
}
