package awssts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
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
	var made cuts
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
		d.seen = d.seen.without(made.seenIn(now))
		for _, p := range open(batch) {
			switch agent := now.agents[agentOf(p.user)]; {
			case now.has(p.user, p.until):
				p.outcome = mint.RoleDeny
				d.complained("")
			case now.covers(p.entry) || made.agents[agentOf(p.user)] && !agent.before.Before(made.cut.before):
				p.outcome = mint.AgentCut
			case made.role && !now.cut.before.Before(made.cut.before):
				p.outcome = mint.RoleCut
			}
		}
		err = d.change(ctx, now, at, open(batch), &made)
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

// cuts are those that one pass needed. All have one time, by which all of its batch were issued.
type cuts struct {
	cut    roleCut
	agents map[string]bool
	role   bool
}

// seenIn are the agents whose cut shows in the policy.
func (c cuts) seenIn(l denyList) map[string]bool {
	out := map[string]bool{}
	for agent := range c.agents {
		if !l.agents[agent].before.Before(c.cut.before) {
			out[agent] = true
		}
	}
	return out
}

// change writes what the policy should be, as far as it fits, and learns how much room there is:
// other inline policies take some too.
func (d *denier) change(ctx context.Context, now denyList, at time.Time, batch []*pending, made *cuts) error {
	base := now.live(d.over(at)).union(d.seen)
	if made.cut.before.IsZero() {
		made.cut = d.newCut(at)
	}
	entries := make([]entry, len(batch))
	for i, p := range batch {
		entries[i] = p.entry
	}
	limit := d.limitNow()
	for {
		r := room{parser: d.parser, limit: limit}
		if d.cutsAgents {
			r.cut = made.cut
		}
		got, err := r.place(base, entries)
		if err != nil {
			return err
		}
		want := got.list
		if d.cutAllowed && slices.ContainsFunc(got.left, func(e entry) bool { return e.urgent }) {
			// Whatever is in the list was issued before the cut. No agent's release does this.
			made.role = true
			want, got.left = denyList{cut: made.cut}, nil
		}
		if len(got.left) > 0 {
			d.measureAgain() // somebody may make room
			d.refuse(ctx, errFull)
			fail(only(batch, got.left), errFull)
			entries = got.in
		}
		err = d.write(ctx, now, want)
		switch {
		case errors.Is(err, errNoRoom):
			d.measureAgain()
			if next, ok := d.tighter(base, want); ok && !made.role {
				limit = next
				continue
			}
			d.refuse(ctx, errFull)
			fail(open(batch), errFull)
			return nil
		case err == nil && made.role:
			d.log.ErrorContext(ctx, "all sessions of a role were cut, since its policy is full",
				slog.String("role", d.role), slog.Time("issued_before", made.cut.before))
			d.seen = denyList{cut: made.cut}
		case err == nil && len(got.cuts) > 0:
			d.log.WarnContext(ctx, "all sessions of an agent were cut, since it ended too many early for a role's policy",
				slog.String("role", d.role), slog.Int("agents", len(got.cuts)), slog.Time("issued_before", made.cut.before))
		}
		if err == nil {
			made.agents = got.cuts
			d.wrote(limit, want)
		}
		return err
	}
}

// without forgets the entries of agents that were cut; the cut stands for them.
func (l denyList) without(agents map[string]bool) denyList {
	out := l.union(denyList{})
	maps.DeleteFunc(out.entries, func(user string, _ time.Time) bool { return agents[agentOf(user)] })
	return out
}

// tighter is a limit between a list and a longer one that did not fit; not ok when it is no
// longer, so that fewer new entries would not help.
func (d *denier) tighter(base, over denyList) (limit int, ok bool) {
	low, err := d.parser.size(base)
	high, err2 := d.parser.size(over)
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
	list, err := d.parser.parse(text)
	if err != nil {
		return denyList{}, at, fmt.Errorf("reading policy %q of role %q: %w", d.policy.name, d.policy.role, err)
	}
	live := list.live(d.over(at))
	d.missing(ctx, live, d.seen.live(d.over(at)))
	switch live.cut.before.Compare(d.seen.cut.before) {
	case 1:
		d.seen = live // the cut stands for all before it
	case 0:
		d.seen = live.union(d.seen)
	}
	d.seen = d.seen.live(d.over(at))
	d.measure(ctx)
	d.wrote(d.limitNow(), list)
	ends := list.ends()
	if soon := d.now().Add(sweepAgain); !ends.IsZero() && ends.Before(soon) && d.over(at).Before(ends) {
		ends = soon // it is over by our clock alone, and will be for some time
	}
	d.sweepNext(ends)
	return list, at, nil
}

// missing tells of live entries that this broker has seen and that are gone: another writer has
// the same policy, or somebody took them out. They are put back with the next write.
func (d *denier) missing(ctx context.Context, live, seen denyList) {
	n := 0
	for user := range seen.entries {
		_, there := live.entries[user]
		if _, cut := live.agents[agentOf(user)]; !there && !cut && live.cut.before.IsZero() {
			n++
		}
	}
	if n > 0 {
		d.log.ErrorContext(ctx, "somebody else took revocations out of a role's policy; they are put back with the next one. Give each broker a policy_name of its own",
			slog.String("role", d.role), slog.String("policy", d.policy.name), slog.Int("missing", n))
	}
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
	old, err := d.parser.text(now)
	if err != nil {
		return err
	}
	text, err := d.parser.text(want)
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
