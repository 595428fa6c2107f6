package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// undelivered are the issuances whose credential was minted and not delivered,
// since the outcome could not be written or proven. Which of the two it was, the
// call cannot know: what it takes for a failed write can be durable all the same,
// and then the record says issued. A stop forgets them; those then end with their
// grants.
type undelivered struct {
	mu  sync.Mutex
	ids []string // guarded by mu
}

func (u *undelivered) add(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids = append(u.ids, id)
}

func (u *undelivered) drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids = slices.DeleteFunc(u.ids, func(one string) bool { return one == id })
}

func (u *undelivered) list() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.ids)
}

// takeBack revokes what is on the record as issued and was not delivered. What is
// still an open intent stays on the list: a write that was given up can come late.
func (b *Broker) takeBack(ctx context.Context) error {
	var errs []error
	for _, id := range b.undelivered.list() {
		taken, closed := false, false
		_, err := b.ledger.Commit(ctx, func(t *ledger.Tx) error {
			iss, err := t.Issuance(id)
			if err != nil {
				return err
			}
			closed = iss.State != store.IssuanceIntended
			if iss.State != store.IssuanceIssued {
				return nil // it is in the work table already, or will be
			}
			g, err := t.Grant(iss.GrantID)
			if err != nil || !g.State.Live() {
				return err // its grant's end revokes it
			}
			taken = true
			return b.orphan(t, iss, "it was minted, and the outcome could not be proven, so it was not delivered")
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("revoking %s, which was not delivered: %w", id, err))
			continue
		}
		if closed {
			b.undelivered.drop(id)
		}
		if taken {
			b.cfg.Log.WarnContext(ctx, "a credential that was not delivered is revoked", slog.String("issuance_id", id))
			b.wake()
		}
	}
	return errors.Join(errs...)
}
