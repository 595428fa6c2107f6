package revocation

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

const (
	// KeepKeys is how long an idempotency key outlives what it is about (ARAP R3).
	// Retention is no less.
	KeepKeys = 24 * time.Hour
	// pruneEvery is the pause between two sweeps of the store.
	pruneEvery = 10 * time.Minute
	// pruneBatch bounds what one transaction looks at, and pruneBudget how long a
	// tick sweeps, so that pruning delays no minting for longer than a batch.
	pruneBatch  = 64
	pruneBudget = tick / 10
)

// pruned is how far pruning has come. The background loop alone uses it.
type pruned struct {
	from string    // where to go on; empty between two sweeps
	next time.Time // when the next one begins
}

// prune carries the sweep on, or begins one where it is time. The ledger is never
// pruned: what goes is the state that nothing can use any more, all of it on
// the record.
func (s *Service) prune(ctx context.Context) error {
	if s.cfg.Ledger.Damage() != nil {
		return nil // what is kept tells of what was lost, and no row can be told to be of no use by one that may be
	}
	now := s.cfg.Now()
	// A clock that was put back must not put the next sweep off for as long.
	if wait := s.pruned.next.Sub(now); s.pruned.from == "" && wait > 0 && wait <= pruneEvery {
		return nil
	}
	p := store.Prune{Now: now, Keys: now.Add(-KeepKeys)}
	if s.cfg.Retention > 0 {
		p.Ended = now.Add(-s.cfg.Retention)
	}
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < pruneBudget; {
		next, err := s.cfg.Ledger.Prune(ctx, p, s.pruned.from, pruneBatch)
		if err != nil {
			s.pruned.from, s.pruned.next = "", now.Add(tick)
			return err
		}
		if s.pruned.from = next; next == "" {
			s.pruned.next = now.Add(pruneEvery)
			return nil
		}
	}
	return nil
}
