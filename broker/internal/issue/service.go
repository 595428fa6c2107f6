package issue

import (
	"context"
	"log/slog"
	"time"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/internal/rules"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

// Config configures New. Every field is required but Directory.
type Config struct {
	Ledger     *ledger.Ledger
	Store      grant.Viewer
	Rules      *rules.Live
	Guard      *guard.Guard
	Minter     mint.Minter
	Signer     *mint.Signer
	Names      mint.SessionNames
	Revocation *revocation.Service
	Notify     *notify.Hub
	Now        func() time.Time
	Log        *slog.Logger
	// Directory is who may approve what needs people; nil for nobody.
	Directory *quorum.Directory
}

// Service issues credentials. It is safe for concurrent use.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Ask is a request for a grant.
type Ask struct {
	Key, TaskID, Scope, ScopeVersion string
	Params                           map[string][]string
	TTL                              time.Duration
	// Justification is recorded and shown to people. Nothing decides on it.
	Justification string
	Mint          bool
}

// Issued is what came of a request. Credential and Receipt are zero unless
// something was minted.
type Issued struct {
	Grant      store.Grant
	Credential mint.Credential
	Receipt    ledger.Receipt
}

// OpenTask opens a task for the caller.
func (s *Service) OpenTask(ctx context.Context, who grant.Caller, n grant.NewTask) (task store.Task, err error) {
	if err := who.Check(); err != nil {
		return store.Task{}, err
	}
	key := repeats.Key{Who: who, Key: n.Key, Content: grant.Content("task", n.Purpose, n.Environment, n.OnBehalfOf)}
	_, err = s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		repeat, err := key.Used(t)
		if err != nil {
			return err
		}
		if repeat != "" {
			task, err = t.Task(repeat)
			return grant.NotFound(err, grant.ErrTaskClosed) // so long ago that it was pruned
		}
		if err := s.cfg.Guard.Throttle(t, who.Agent()); err != nil {
			return err
		}
		var c grant.Change
		task, c = n.Open(who, t.Now())
		if err := key.Remember(t, task.ID); err != nil {
			return err
		}
		return t.Change(c)
	})
	return task, err
}

// Explain says what a request would give and need. It mints and records nothing.
func (s *Service) Explain(ctx context.Context, who grant.Caller, q scopes.Query, environment string) (policy.Decision, error) {
	if err := who.Check(); err != nil {
		return policy.Decision{}, err
	}
	return s.decide(ctx, who, store.Task{Environment: environment}, q, quorum.Tally{})
}
