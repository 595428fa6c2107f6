package awssts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

const (
	// maxRounds is how often one pass reads the policy, to see its entries in it.
	maxRounds = 4
	// cutLead covers the whole seconds of a server's clock: sessions issued in it are cut too.
	cutLead = 2 * time.Second
	// sweepAgain is the wait after a sweep that failed.
	sweepAgain = time.Minute
)

var (
	errLost = fmt.Errorf("awssts: another writer keeps changing the revocation policy: %w", mint.ErrUnavailable)
	errFull = errors.New("the role's inline policies are full")
)

// denier keeps the deny entries of one role in its inline policy. Laws:
//
//  1. An entry is removed only once its session is over. A full policy refuses new entries.
//  2. "Denied" is said only after a read showed the entry in the policy, so that a crash, a
//     lost answer or another writer costs a repeat and nothing else.
//  3. A policy with foreign content is not written; a role with another ARN is not touched.
//  4. No try outlives the session: after its deadline there is nothing left to deny.
//  5. One read, change and write at a time. Who waits meanwhile goes into the next write
//     together, since IAM throttles writes.
//
// Two brokers on one policy can overwrite each other between a read and the write that
// follows. Each puts back, at its next pass, all live entries that it has ever read; until
// then an entry can be missing although it was reported. Policy names of their own avoid it.
type denier struct {
	role       string        // the configured name
	longest    time.Duration // that a session can live
	cutAllowed bool
	now        func() time.Time
	log        *slog.Logger
	policy     *rolePolicy

	turn chan struct{} // holds one: whose pass it is

	mu      sync.Mutex
	waiting []*pending // guarded by mu
	roleID  string     // guarded by mu
	told    string     // the last cause that was logged; guarded by mu
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

// learn keeps the role's id from an answer of STS. It is safe on a nil denier.
func (d *denier) learn(roleID string) {
	if d == nil || roleID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roleID = roleID
}

// revoke denies the handle's session. Without the permission, or without room, the outcome is
// DeadlineOnly and the log says why; every error is worth a repeat until the deadline.
func (d *denier) revoke(ctx context.Context, h mint.Handle) (mint.RevokeOutcome, error) {
	if h.SessionName == "" || h.NotAfter.IsZero() {
		return mint.RevokeUnspecified, fmt.Errorf("handle has no session name or no deadline: %w", mint.ErrRefused)
	}
	if !d.now().Before(h.NotAfter) {
		d.sweep(ctx)
		return mint.DeadlineOnly, nil
	}
	roleID, err := d.idOf(ctx, h)
	if errors.Is(err, errNotPermitted) {
		d.complain(ctx, err)
		return mint.DeadlineOnly, nil
	}
	if err != nil {
		return mint.RevokeUnspecified, err
	}
	user := roleID + ":" + h.SessionName
	if !userID.MatchString(user) {
		return mint.RevokeUnspecified, fmt.Errorf("handle's role id or session name is not legal: %w", mint.ErrRefused)
	}
	return d.deny(ctx, entry{user: user, until: slotEnd(h.NotAfter)})
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
	if errors.Is(err, errNotPermitted) {
		d.complain(ctx, err)
		finish(open(batch), mint.DeadlineOnly)
		err = nil
	}
	for _, p := range batch {
		if p.outcome == mint.RevokeUnspecified {
			p.err = err
		}
		close(p.done)
	}
}

func open(batch []*pending) (out []*pending) {
	for _, p := range batch {
		if p.outcome == mint.RevokeUnspecified {
			out = append(out, p)
		}
	}
	return out
}

func finish(batch []*pending, outcome mint.RevokeOutcome) {
	for _, p := range batch {
		p.outcome = outcome
	}
}

// settle reads, changes and writes the policy until every entry of the batch is in it, or is
// known not to fit. On a nil error nothing is open.
func (d *denier) settle(ctx context.Context, batch []*pending) error {
	limit := maxInline
	var cut roleCut
	for round := range maxRounds {
		if round > 1 {
			if err := pause(ctx); err != nil {
				return err
			}
		}
		now, at, err := d.read(ctx)
		if err != nil {
			return err
		}
		for _, p := range open(batch) {
			switch {
			case now.has(p.user, p.until):
				p.outcome = mint.RoleDeny
				d.complained("")
			case !cut.before.IsZero() && !now.cut.before.Before(cut.before):
				p.outcome = mint.RoleCut
			}
		}
		cut, limit, err = d.change(ctx, now, at, open(batch), cut, limit)
		if err != nil && len(batch) > 0 && len(open(batch)) == 0 {
			// Every entry is in; only what is over was to go, and goes another time.
			d.log.WarnContext(ctx, "dropping ended revocations; it is tried again", slog.String("role", d.role), slog.Any("error", err))
			return nil
		}
		if err != nil {
			return err
		}
		if len(open(batch)) == 0 {
			return nil
		}
	}
	return errLost
}

// change writes what the policy should be, as far as it fits. It gives back the cut, once one
// was needed, and what it learned of the room there is: other inline policies take some too.
func (d *denier) change(ctx context.Context, now denyList, at time.Time, batch []*pending, cut roleCut, limit int) (roleCut, int, error) {
	base := now.live(d.now()).union(d.seen)
	entries := make([]entry, len(batch))
	for i, p := range batch {
		entries[i] = p.entry
	}
	for {
		want, placed, left, err := base.with(entries, limit)
		if err != nil {
			return cut, limit, err
		}
		if len(left) > 0 && d.cutAllowed {
			if cut.before.IsZero() {
				cut = d.newCut(at)
			}
			// Whatever is in the list was issued before the cut.
			want, placed, left = denyList{cut: cut}, entries, nil
		}
		if len(left) > 0 {
			d.complain(ctx, errFull)
			finish(only(batch, left), mint.DeadlineOnly)
			entries = placed
		}
		err = d.write(ctx, now, want)
		switch {
		case errors.Is(err, errNoRoom):
			if next, ok := tighter(base, want); ok && cut.before.IsZero() {
				limit = next
				continue
			}
			d.complain(ctx, errFull)
			finish(open(batch), mint.DeadlineOnly)
			return cut, limit, nil
		case err == nil && !cut.before.IsZero():
			d.log.ErrorContext(ctx, "all sessions of a role were cut, since its policy is full",
				slog.String("role", d.role), slog.Time("issued_before", cut.before))
			d.seen = denyList{cut: cut}
		}
		return cut, limit, err
	}
}

// tighter is a limit between a list and a longer one that did not fit; not ok when it is no
// longer, so that fewer new entries would not help.
func tighter(base, over denyList) (limit int, ok bool) {
	low, err := base.size()
	high, err2 := over.size()
	return low + (high-low)/2, err == nil && err2 == nil && high > low
}

func only(batch []*pending, entries []entry) (out []*pending) {
	for _, p := range batch {
		for _, e := range entries {
			if p.entry == e {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// newCut is by the server's clock, which stamps the sessions, unless ours is ahead.
func (d *denier) newCut(at time.Time) roleCut {
	now := d.now()
	if at.After(now) {
		now = at
	}
	before := now.Add(cutLead).UTC().Truncate(time.Second)
	return roleCut{before: before, until: slotEnd(before.Add(d.longest))}
}

func (d *denier) read(ctx context.Context) (denyList, time.Time, error) {
	text, at, err := d.policy.get(ctx)
	if err != nil {
		return denyList{}, at, err
	}
	list, err := parseDenyList(text)
	if err != nil {
		return denyList{}, at, fmt.Errorf("reading policy %q of role %q: %w", d.policy.name, d.policy.role, err)
	}
	live := list.live(d.now())
	switch live.cut.before.Compare(d.seen.cut.before) {
	case 1:
		d.seen = live // the cut stands for all before it
	case 0:
		d.seen = live.union(d.seen)
	}
	d.seen = d.seen.live(d.now())
	d.sweepNext(list.ends())
	return list, at, nil
}

// write replaces now by want, and does nothing where they are the same.
func (d *denier) write(ctx context.Context, now, want denyList) error {
	old, err := now.text()
	if err != nil {
		return err
	}
	text, err := want.text()
	if err != nil || text == old {
		return err
	}
	if err := d.policy.put(ctx, text); err != nil {
		return err
	}
	d.sweepNext(want.ends())
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
		d.log.ErrorContext(ctx, "sessions of a role cannot be revoked and live to their deadline",
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

func pause(ctx context.Context) error {
	t := time.NewTimer(maxPause/5 + rand.N(maxPause*4/5)) //nolint:gosec // jitter needs no secrecy
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting to read the policy again: %w: %w", mint.ErrUnavailable, ctx.Err())
	case <-t.C:
		return nil
	}
}
