package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

// probeIdle is how long no write may have told whether the store takes writes,
// until one is made to find out.
const probeIdle = 10 * time.Second

// watchedStore remembers how the last write went. What a transaction's function
// itself refused says nothing about the store.
type watchedStore struct {
	store.Store
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	last error     // of the last write; guarded by mu
	at   time.Time // of the last write that told; guarded by mu
}

// Update implements store.Store.
func (s *watchedStore) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	h, err := s.Store.Update(ctx, fn)
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		s.note(ctx, err)
	}
	return h, err
}

func (s *watchedStore) note(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.last == nil:
		s.log.ErrorContext(ctx, "the store refuses writes; the broker is not ready", slogErr(err))
	case err == nil && s.last != nil:
		s.log.InfoContext(ctx, "the store takes writes again; the broker is ready")
	}
	s.last, s.at = err, s.now()
}

// state is how the last write that told went, and when that was.
func (s *watchedStore) state() (told time.Time, last error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.last
}

// Ready is nil while the store takes writes, as the last one showed, and the
// error that one met otherwise. A broker that is not ready still refuses
// properly; it is only no use to send it calls.
func (b *Broker) Ready() error {
	_, err := b.watched.state()
	return err
}

// probe writes a row of no meaning where the last write failed, or long ago: once
// callers stay away, nothing else would find out that the store has come back.
func (b *Broker) probe(ctx context.Context) error {
	now := b.cfg.Now()
	if told, last := b.watched.state(); last == nil && now.Sub(told).Abs() < probeIdle {
		return nil
	}
	_, err := b.watched.Update(ctx, func(t store.Tx) error {
		// A bucket that always has a token is a row that is always written.
		_, err := t.TakeToken("probe", now, time.Nanosecond, 2)
		return err
	})
	if errors.Is(err, store.ErrUnavailable) {
		return nil // note has logged it, once
	}
	return err
}
