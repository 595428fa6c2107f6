// Package refusals puts calls that were refused at the edge on the record: one by one, or
// counted where there are many.
//
// Laws:
//   - A refusal is recorded or counted; none goes unsaid, and a store that is down puts
//     it off.
//   - A flood of them costs a bounded number of records, and pushes out nobody else's.
package refusals

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/grant"
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

// refusalWait bounds how long a refusal's record is tried for. What takes longer is in
// the next sum, and may then be counted twice.
const refusalWait = 5 * time.Second

// refusalPatience bounds how long the answer waits for that: all calls of the same
// connection wait with it, and behind a proxy those are others'.
const refusalPatience = 250 * time.Millisecond

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

// Log records refusals. It is safe for concurrent use.
type Log struct {
	ledger *ledger.Ledger
	guard  *guard.Guard
	now    func() time.Time
	log    *slog.Logger
	wg     sync.WaitGroup // of the records that are being written

	mu        sync.Mutex
	began     time.Time // of the window; guarded by mu
	known     share     // guarded by mu
	strangers share     // guarded by mu
	counts    counts    // of those not recorded one by one; guarded by mu
}

// New returns a Log that tells callers apart by g's keys.
func New(l *ledger.Ledger, g *guard.Guard, now func() time.Time, log *slog.Logger) *Log {
	return &Log{ledger: l, guard: g, now: now, log: log}
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
func (l *Log) count(now time.Time, c counted) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.began).Abs() >= refusalWindow && len(l.counts) == 0 {
		l.began, l.known, l.strangers = now, share{}, share{}
	}
	s := &l.strangers
	if c.known {
		s = &l.known
	}
	if s.take(c.key, budgetOf(c.known)) {
		return true
	}
	l.addLocked(c, 1)
	return false
}

func (l *Log) addLocked(c counted, n int64) {
	if l.counts == nil {
		l.counts = counts{}
	}
	l.counts.add(c, n)
}

func (l *Log) take() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.counts
	l.counts = nil
	return out
}

// putBack keeps what could not be recorded for the next try.
func (l *Log) putBack(all counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, n := range all {
		l.addLocked(c, n)
	}
}

func (l *Log) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.counts) > 0 && now.Sub(l.began).Abs() >= refusalWindow
}

// Claim is who a caller that was not authenticated says it is, if anybody.
type Claim struct {
	Agent spiffeid.ID
	// Delegate was authenticated, and named Agent without being allowed to; zero
	// otherwise.
	Delegate spiffeid.ID
}

// Refused is a call that was refused at the edge.
type Refused struct {
	// Who was authenticated; zero for nobody, who then is as Claimed.
	Who     identity.Agent
	Claimed Claim
	// Correlation ties it to the log.
	Correlation, Method, Reason string
}

// Refuse puts a refusal at the edge on the record.
func (l *Log) Refuse(ctx context.Context, r Refused) {
	claimed := r.Claimed
	known, key, agent, delegate := r.Who.Valid(), claimed.Agent.TrustDomain().Name(), "", ""
	switch {
	case known:
		key, agent = l.guard.Subject(r.Who), r.Who.ID().String()
		if d := r.Who.Delegate(); !d.IsZero() {
			delegate = d.String()
		}
	case !claimed.Delegate.IsZero():
		// What it makes up goes against its own share.
		known, key, agent, delegate = true, claimed.Delegate.String(), claimed.Agent.String(), claimed.Delegate.String()
	case !claimed.Agent.IsZero():
		agent = claimed.Agent.String()
	}
	c := counted{known: known, key: key, reason: r.Reason}
	if !l.count(l.now(), c) {
		return
	}
	rec := grant.Refused(r.Correlation, agent, delegate, r.Method, r.Reason)
	done := make(chan struct{})
	l.wg.Go(func() {
		defer close(done)
		l.write(context.WithoutCancel(ctx), c, rec)
	})
	patience := time.NewTimer(refusalPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}

// write puts one refusal on the record, or in the next sum.
func (l *Log) write(ctx context.Context, c counted, r grant.Change) {
	ctx, cancel := context.WithTimeout(ctx, refusalWait)
	defer cancel()
	if err := l.ledger.Write(ctx, r); err != nil {
		// The call is refused all the same; that is the safe side. The record says
		// so with the next sum.
		l.putBack(counts{c: 1})
		l.log.ErrorContext(ctx, "recording a refusal", slog.String("error", err.Error()))
	}
}

// FlushDue records the sums of a window that is over.
func (l *Log) FlushDue(ctx context.Context) error {
	if !l.due(l.now()) {
		return nil
	}
	return l.flush(ctx)
}

// Close waits for what is being written, and then records all sums, within ledger.Timeout.
func (l *Log) Close() error {
	l.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), ledger.Timeout)
	defer cancel()
	return l.flush(ctx)
}

func (l *Log) flush(ctx context.Context) error {
	all := l.take()
	if len(all) == 0 {
		return nil
	}
	_, err := l.ledger.Commit(ctx, func(t *ledger.Tx) error {
		for c, n := range all {
			if err := t.Change(c.record(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.putBack(all)
	}
	return err
}
