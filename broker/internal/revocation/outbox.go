package revocation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/store"
)

const (
	workBatch   = 64
	workers     = 8
	revokeLimit = 10 * time.Second
	maxBackoff  = store.MaxPutOff
)

// drain carries ends upstream: operators' or all others, each in a loop of its own, so that an operator's
// waits for no agent's. It is apart from background, so that an upstream that hangs delays no expiry.
func (s *Service) drain(ctx context.Context, urgent bool, kick <-chan struct{}) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		more, err := s.work(ctx, urgent)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.ErrorContext(ctx, "revoking upstream; it is tried again", slog.String("error", err.Error()))
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-kick:
		case <-every.C:
		}
	}
}

// work carries ends upstream. The row is done only when the answer is on the
// record; until then a crash repeats the call, which upstreams take as one.
// more says that there may be more due than was taken. It is false where a row
// could not be written: that one is still due, and is not to be tried in a hurry.
func (s *Service) work(ctx context.Context, urgent bool) (more bool, err error) {
	var due []store.Work
	err = s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		due, err = r.DueWork(s.cfg.Now(), urgent, workBatch)
		return err
	})
	more = err == nil && len(due) == workBatch
	errs, written := make([]error, len(due)), make([]bool, len(due))
	var wg sync.WaitGroup
	places := make(chan struct{}, workers)
	for i, w := range due {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			written[i], errs[i] = s.workOne(ctx, w)
		})
	}
	wg.Wait()
	return more && !slices.Contains(written, false), errors.Join(err, errors.Join(errs...))
}

func (s *Service) workOne(ctx context.Context, w store.Work) (written bool, err error) {
	var h mint.Handle
	var outcome mint.RevokeOutcome
	began := s.cfg.Now()
	failed := json.Unmarshal(w.Handle, &h)
	if failed == nil {
		rctx, cancel := context.WithTimeout(ctx, revokeLimit)
		if w.Urgent {
			outcome, failed = mint.RevokeFirst(rctx, s.cfg.Minter, h)
		} else {
			outcome, failed = s.cfg.Minter.Revoke(rctx, h)
		}
		cancel()
	}
	if failed != nil {
		w.Attempts++
		w.NextAt = nextTry(s.cfg.Now(), w.Attempts, h.NotAfter)
		_, err := s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
			if newest, err := isNewest(t, w); err != nil || !newest {
				return err
			}
			return t.Retry(w)
		})
		return err == nil, errors.Join(fmt.Errorf("revoking %s upstream, attempt %d: %w", w.ID, w.Attempts, failed), err)
	}
	_, err = s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		if newest, err := isNewest(t, w); err != nil || !newest {
			return err
		}
		var ends time.Time
		if outcome == mint.DeadlineOnly {
			ends = h.Ends() // nothing ended it before
		}
		return t.Change(grant.Revoked(w, Named(h, ends), h.SessionName, outcome.String(), s.cfg.Now().Sub(began), t.Now()))
	})
	return err == nil, err
}

// isNewest says whether w still is what its issuance is to be revoked by. A late
// outcome puts a handle that says more in the place of w while w is carried
// upstream; to write w back would forget it. It does not read the issuance: one that is
// damaged would be carried upstream for ever, and in front of others.
func isNewest(t *ledger.Tx, w store.Work) (bool, error) {
	now, err := t.Work(w.GrantID, w.ID)
	return bytes.Equal(now.Handle, w.Handle), err
}

// nextTry is when an end that failed is carried upstream again: after twice the
// wait each time, at most maxBackoff, and at once when the credential has ended
// by itself, so that the record does not stay open longer. notAfter may be zero.
func nextTry(now time.Time, attempts int, notAfter time.Time) time.Time {
	next := now.Add(min(tick<<min(attempts, 16), maxBackoff))
	if notAfter.After(now) && notAfter.Before(next) {
		return notAfter
	}
	return next
}

// Wake carries ends upstream now.
func (s *Service) Wake() {
	for _, kick := range s.kicks {
		select {
		case kick <- struct{}{}:
		default: // it is already woken
		}
	}
}

// Named is a credential as the record names it. A zero ends is not known.
func Named(h mint.Handle, ends time.Time) grant.Found {
	f := grant.Found{AccessKeyID: h.AccessKeyID, VaultAccessor: h.VaultAccessor, VaultLease: h.VaultLeaseID}
	if !ends.IsZero() {
		f.NotAfter = &ends
	}
	return f
}
