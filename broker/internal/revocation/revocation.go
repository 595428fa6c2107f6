// Package revocation ends what was granted: when its time is over, when its agent or an
// operator says so, and when a crash left it open. It carries each end upstream.
//
// Laws:
//   - The end of a grant, and the order to revoke its credentials, are one change. The
//     order stays until the upstream's answer is on the record.
//   - What may exist upstream and was not delivered is revoked.
//   - What cannot be read keeps nobody else's end from being carried out.
package revocation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// Config configures New. Every field is required but those that say what zero means.
type Config struct {
	Ledger *ledger.Ledger
	Store  grant.Viewer
	Guard  *guard.Guard
	Minter mint.Minter
	Notify *notify.Hub
	Now    func() time.Time
	Log    *slog.Logger
	// Directory is who may approve; nil for nobody.
	Directory *quorum.Directory
	// Owner names the person whose an agent is; nil where no agent has one.
	Owner func(agent string) string
	// Retention is how long grants are kept after their end; for ever when zero.
	Retention time.Duration
}

// Service ends grants. It is safe for concurrent use.
type Service struct {
	cfg Config
	// undelivered is what takeBack is to look at.
	undelivered undelivered
	kicks       [2]chan struct{} // of the work loops
	pruned      pruned
}

// New returns a Service that ends nothing by itself until Run.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg}
	for i := range s.kicks {
		s.kicks[i] = make(chan struct{}, 1)
	}
	return s
}

// tick is the pause between two looks at what is due.
const tick = time.Second

// Run carries ends upstream until ctx is done, operators' in a loop of their own.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, urgent := range []bool{true, false} {
		wg.Go(func() { s.drain(ctx, urgent, s.kicks[i]) })
	}
	wg.Wait()
}

// Tick expires grants, closes stale intents, takes back what was not delivered, and
// prunes the store.
func (s *Service) Tick(ctx context.Context) error {
	return errors.Join(s.expire(ctx), s.orphanStale(ctx), s.takeBack(ctx), s.prune(ctx))
}

func (s *Service) expire(ctx context.Context) error {
	var due []store.Grant
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		due, err = r.Expired(s.cfg.Now(), 1000)
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	err = s.apart(ctx, len(due), func(t *ledger.Tx, i int) error {
		g, err := t.Grant(due[i].ID)
		if err != nil || !g.State.Open() || t.Now().Before(g.ExpiresAt) {
			return err // or it ended otherwise since it was read, or people let its life begin
		}
		return End(t, &g, grant.ByTime(g))
	}, func(i int) error { return s.credentials(ctx, due[i].ID, grant.ByTime(due[i])) })
	for _, g := range due {
		s.cfg.Notify.Announce(g.ID)
	}
	return err
}
