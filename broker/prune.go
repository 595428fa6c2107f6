package broker

import (
	"context"
	"errors"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

const (
	// keepKeys is how long an idempotency key outlives what it is about (ARAP R3),
	// and how long done work is kept. Retention is no less.
	keepKeys = 24 * time.Hour
	// pruneEvery is the pause between two sweeps of the store.
	pruneEvery = 10 * time.Minute
	// pruneBatch bounds what one transaction looks at, and pruneBudget how long a
	// tick sweeps, so that pruning delays no minting for longer than a batch.
	pruneBatch  = 64
	pruneBudget = tick / 10
)

var errRetention = errors.New("broker: Retention must be 0, for ever, or at least 24 h")

// sweep is how far pruning has come. The background loop alone uses it.
type sweep struct {
	from string    // where to go on; empty between two sweeps
	next time.Time // when the next one begins
}

// prune carries the sweep on, or begins one where it is time. The ledger is never
// pruned: what goes is the state that nothing can use any more, all of it on
// the record.
func (b *Broker) prune(ctx context.Context, s *sweep) error {
	now := b.cfg.Now()
	// A clock that was put back must not put the next sweep off for as long.
	if wait := s.next.Sub(now); s.from == "" && wait > 0 && wait <= pruneEvery {
		return nil
	}
	p := store.Prune{Now: now, Keys: now.Add(-keepKeys)}
	if b.cfg.Retention > 0 {
		p.Ended = now.Add(-b.cfg.Retention)
	}
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < pruneBudget; {
		var next string
		if _, err := b.cfg.Store.Update(ctx, func(t store.Tx) (err error) {
			next, err = t.Prune(p, s.from, pruneBatch)
			return err
		}); err != nil {
			s.from, s.next = "", now.Add(tick)
			return err
		}
		if s.from = next; next == "" {
			s.next = now.Add(pruneEvery)
			return nil
		}
	}
	return nil
}
