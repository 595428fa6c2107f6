// Package health knows whether the store takes writes, and whether it is sound.
//
// It learns from the writes of others, and makes one of its own where there are none.
package health

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// probeIdle is how long no write may have told whether the store takes writes,
// until one is made to find out.
const probeIdle = 10 * time.Second

// Store remembers how the last write went. What a transaction's function
// itself refused says nothing about the store.
type Store struct {
	store.Store
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	last error     // of the last write; guarded by mu
	at   time.Time // of the last write that told; guarded by mu

	told bool // of the damage; the background loop's alone
}

// Watch returns st, watched.
func Watch(st store.Store, now func() time.Time, log *slog.Logger) *Store {
	return &Store{Store: st, now: now, log: log}
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	h, err := s.Store.Update(ctx, fn)
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		s.note(ctx, err)
	}
	return h, err
}

func (s *Store) note(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.last == nil:
		s.log.ErrorContext(ctx, "the store refuses writes; the broker is not ready", slog.String("error", err.Error()))
	case err == nil && s.last != nil:
		s.log.InfoContext(ctx, "the store takes writes again", slog.Bool("damaged", s.Damage() != nil))
	}
	s.last, s.at = err, s.now()
}

// state is how the last write that told went, and when that was.
func (s *Store) state() (told time.Time, last error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.last
}

// Ready is nil while the broker can mint: the store takes writes, as the last one
// showed, and is sound. Damage does not pass by itself. A broker that is not ready
// still refuses properly; it is only no use to send it agents' calls.
func (s *Store) Ready() error { return cmp.Or(s.Damage(), s.Operable()) }

// Operable is nil while operators' calls can be carried out: on a damaged store too,
// as far as it goes, for what was minted is to be ended there as well.
func (s *Store) Operable() error {
	_, err := s.state()
	return err
}

// maxDamageText keeps the record of damage within its own limit.
const maxDamageText = 512

// TellDamage says once, in the log and on the record, that the store is damaged.
func (s *Store) TellDamage(ctx context.Context, l *ledger.Ledger) error {
	damage := s.Damage()
	if damage == nil || s.told {
		return nil
	}
	s.told = true
	s.log.ErrorContext(ctx, "the store is damaged: nothing is minted until its operator has acted; see \"valetkeyd store check\"", slog.String("error", damage.Error()))
	text := damage.Error()
	return l.Write(ctx, grant.Damaged(strings.ToValidUTF8(text[:min(len(text), maxDamageText)], "")))
}

// Probe writes a row of no meaning where the last write failed, or long ago: once
// callers stay away, nothing else would find out that the store has come back.
func (s *Store) Probe(ctx context.Context, l *ledger.Ledger) error {
	if told, last := s.state(); last == nil && s.now().Sub(told).Abs() < probeIdle {
		return nil
	}
	err := l.Probe(ctx)
	if errors.Is(err, store.ErrUnavailable) {
		return nil // note has logged it, once
	}
	return err
}
