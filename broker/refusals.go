package broker

import (
	"context"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/ledger"
)

// Refusals are cheap to cause, so only so many a window are recorded one by
// one; the rest are counted, and each count is one record: by caller and reason
// for as many as counts tells apart, by reason for the rest.
//
// Each caller has a share of its own, so that a noisy one pushes nobody else's
// refusals into the count. All of it is bounded: by the window, at most
// budget.all and one more for each of budget.callers are recorded one by one, and
// namedKnown, namedStrangers and the number of reasons are the most summaries.
const refusalWindow = time.Minute

type budget struct {
	// each is how many of one caller's are recorded one by one.
	each int
	// all is how many of all callers', but each one's first.
	all int
	// callers is how many are told apart; the rest share one share.
	callers int
}

// budgetOf is that of callers who were authenticated, by the guard's key, or that
// of all others, by the trust domain they claim. What those claim is theirs to
// make up, so they have less, and apart.
func budgetOf(known bool) budget {
	if known {
		return budget{each: 20, all: 200, callers: 128}
	}
	return budget{each: 20, all: 40, callers: 16}
}

// others is the key of those beyond budget.callers, and of those who claim
// nothing: no caller's own.
const others = ""

type refusals struct {
	mu        sync.Mutex
	began     time.Time // of the window; guarded by mu
	known     share     // guarded by mu
	strangers share     // guarded by mu
	counts    counts    // of those not recorded one by one; guarded by mu
}

// share is what one kind of caller has used of its budget.
type share struct {
	kept map[string]int // by caller
	all  int
}

func (s *share) take(key string, b budget) bool {
	if _, told := s.kept[key]; !told && len(s.kept) >= b.callers {
		key = others
	}
	n := s.kept[key]
	if n >= b.each || n > 0 && s.all >= b.all {
		return false
	}
	if s.kept == nil {
		s.kept = map[string]int{}
	}
	if n > 0 {
		s.all++
	}
	s.kept[key]++
	return true
}

// count says whether a refusal is to be recorded by itself.
func (r *refusals) count(now time.Time, c counted) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began).Abs() >= refusalWindow && len(r.counts) == 0 {
		r.began, r.known, r.strangers = now, share{}, share{}
	}
	s := &r.strangers
	if c.known {
		s = &r.known
	}
	if s.take(c.key, budgetOf(c.known)) {
		return true
	}
	r.addLocked(c, 1)
	return false
}

func (r *refusals) addLocked(c counted, n int64) {
	if r.counts == nil {
		r.counts = counts{}
	}
	r.counts.add(c, n)
}

func (r *refusals) take() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.counts
	r.counts = nil
	return out
}

// putBack keeps what could not be recorded for the next try.
func (r *refusals) putBack(all counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, n := range all {
		r.addLocked(c, n)
	}
}

func (r *refusals) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.counts) > 0 && now.Sub(r.began).Abs() >= refusalWindow
}

// Claim is who a caller that was not authenticated says it is, if anybody.
type Claim struct {
	Agent spiffeid.ID
	// Delegate was authenticated, and named Agent without being allowed to; zero
	// otherwise.
	Delegate spiffeid.ID
}

// Refuse puts a refusal at the edge on the record.
func (b *Broker) Refuse(ctx context.Context, who Caller, claimed Claim, method, reason string) {
	known, key, agent, delegate := who.Agent.Valid(), claimed.Agent.TrustDomain().Name(), "", who.delegate()
	switch {
	case known:
		key, agent = b.cfg.Guard.Key(who.Agent), who.id()
	case !claimed.Delegate.IsZero():
		// What it makes up goes against its own share.
		known, key, agent, delegate = true, claimed.Delegate.String(), claimed.Agent.String(), claimed.Delegate.String()
	case !claimed.Agent.IsZero():
		agent = claimed.Agent.String()
	}
	c := counted{known: known, key: key, reason: reason}
	if !b.refused.count(b.cfg.Now(), c) {
		return
	}
	_, err := b.ledger.Commit(context.WithoutCancel(ctx), func(t *ledger.Tx) error {
		_, err := t.Record(ledger.Record{
			Type: ledger.RefusalRecorded, Correlation: who.Correlation, Agent: agent, Delegate: delegate, Reason: reason, Cause: method, Decision: "deny",
		})
		return err
	})
	if err != nil {
		// The call is refused all the same; that is the safe side. The record says
		// so with the next sum.
		b.refused.putBack(counts{c: 1})
		b.cfg.Log.ErrorContext(ctx, "recording a refusal", slogErr(err))
	}
}

func (b *Broker) flushDueRefusals(ctx context.Context) error {
	if !b.refused.due(b.cfg.Now()) {
		return nil
	}
	return b.flushRefusals(ctx)
}

func (b *Broker) flushRefusals(ctx context.Context) error {
	all := b.refused.take()
	if len(all) == 0 {
		return nil
	}
	_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		for c, n := range all {
			if _, err := t.Record(c.record(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.refused.putBack(all)
	}
	return err
}
