package broker

import (
	"context"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
)

// Refusals are cheap to cause, so only so many a window are recorded one by
// one; the rest are counted, and each reason's count is one record.
const (
	refusalWindow = time.Minute
	refusalsKept  = 20
)

type refusals struct {
	mu     sync.Mutex
	began  time.Time        // of the window; guarded by mu
	kept   int              // recorded one by one in it; guarded by mu
	counts map[string]int64 // by reason, beyond those; guarded by mu
}

// count says whether a refusal is to be recorded by itself.
func (r *refusals) count(now time.Time, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began) >= refusalWindow && len(r.counts) == 0 {
		r.began, r.kept = now, 0
	}
	if r.kept < refusalsKept {
		r.kept++
		return true
	}
	if r.counts == nil {
		r.counts = map[string]int64{}
	}
	r.counts[reason]++
	return false
}

func (r *refusals) take() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.counts
	r.counts = nil
	return out
}

// putBack keeps what could not be recorded for the next try.
func (r *refusals) putBack(counts map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reason, n := range r.counts {
		counts[reason] += n
	}
	r.counts = counts
}

func (r *refusals) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.counts) > 0 && now.Sub(r.began) >= refusalWindow
}

// Refuse puts a refusal at the edge on the record. agent is who the caller
// claims to be, if anybody.
func (b *Broker) Refuse(ctx context.Context, agent, correlation, method, reason string) {
	if !b.refused.count(b.cfg.Now(), reason) {
		return
	}
	_, err := b.ledger.Commit(context.WithoutCancel(ctx), func(t *ledger.Tx) error {
		_, err := t.Record(ledger.Record{
			Type: ledger.RefusalRecorded, Correlation: correlation, Agent: agent, Reason: reason, Cause: method, Decision: "deny",
		})
		return err
	})
	if err != nil {
		// The call is refused all the same; that is the safe side.
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
	counts := b.refused.take()
	if len(counts) == 0 {
		return nil
	}
	_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		for reason, n := range counts {
			if _, err := t.Record(ledger.Record{Type: ledger.RefusalSummary, Reason: reason, Count: n, Decision: "deny"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.refused.putBack(counts)
	}
	return err
}
