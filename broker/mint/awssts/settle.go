package awssts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

const (
	// maxRounds is how often one pass reads the policy, to see its entries in it.
	maxRounds = 4
	// cutLead covers the whole seconds of a server's clock: sessions issued in it are cut too.
	cutLead = 2 * time.Second
)

var (
	errLost = fmt.Errorf("awssts: another writer keeps changing the revocation policy: %w", mint.ErrUnavailable)
	errFull = fmt.Errorf("awssts: the role's inline policies are full; wait for entries to end, or make room: %w", mint.ErrRefused)
)

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
	base := now.live(d.over(at)).union(d.seen)
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
			d.refuse(ctx, errFull)
			fail(only(batch, left), errFull)
			entries = placed
		}
		err = d.write(ctx, now, want)
		switch {
		case errors.Is(err, errNoRoom):
			if next, ok := tighter(base, want); ok && cut.before.IsZero() {
				limit = next
				continue
			}
			d.refuse(ctx, errFull)
			fail(open(batch), errFull)
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
	live := list.live(d.over(at))
	switch live.cut.before.Compare(d.seen.cut.before) {
	case 1:
		d.seen = live // the cut stands for all before it
	case 0:
		d.seen = live.union(d.seen)
	}
	d.seen = d.seen.live(d.over(at))
	ends := list.ends()
	if soon := d.now().Add(sweepAgain); !ends.IsZero() && ends.Before(soon) && d.over(at).Before(ends) {
		ends = soon // it is over by our clock alone, and will be for some time
	}
	d.sweepNext(ends)
	return list, at, nil
}

// over is what has to be after an entry's end to drop it: the earlier of our clock and
// the server's, which ends the session.
func (d *denier) over(at time.Time) time.Time {
	now := d.now()
	if !at.IsZero() && at.Before(now) {
		return at
	}
	return now
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
