// Package approval is what waits for people, and their votes on it. Package quorum says who
// may vote, and counts; minting counts again.
//
// Laws:
//   - A vote is on the record whole, with what comes of it.
//   - People see what concerns them alone.
package approval

import (
	"context"
	"errors"
	"time"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// Config configures New. Every field is required but Directory.
type Config struct {
	Ledger     *ledger.Ledger
	Store      grant.Viewer
	Guard      *guard.Guard
	Revocation *revocation.Service
	Notify     *notify.Hub
	Now        func() time.Time
	// Directory is who may approve; nil for nobody.
	Directory *quorum.Directory
}

// Service shows people what waits for them, and takes their votes. It is safe for
// concurrent use.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Pending is a request as an approver sees it.
type Pending struct {
	Grant store.Grant
	Task  store.Task
	// Broker is the name that a statement has to bear.
	Broker string
	// Person is the caller, as a statement has to name them.
	Person string
	// Barred are the people of the needed groups who may reject it and no more.
	Barred []string
	// Named are those whose yes is needed, since the agent names them, and who count for
	// no group.
	Named []string
	// Groups are those that a yes of the caller's counts for.
	Groups []string
	// Lacking is what is still needed.
	Lacking []policy.Need
	// Votes are those that came.
	Votes []store.Approval
}

// pendingPage bounds what one call looks at, as it bounds what it returns.
const pendingPage = 100

// PendingGrants lists what waits for people and concerns the caller, oldest first,
// from the one after an id on. next is where to go on; empty at the end.
func (s *Service) PendingGrants(ctx context.Context, who grant.Approver, after string) (out []Pending, next string, err error) {
	if err := who.Check(); err != nil {
		return nil, "", err
	}
	if s.cfg.Directory == nil {
		return nil, "", nil
	}
	err = s.cfg.Store.View(ctx, func(r store.Reader) error {
		waiting, err := r.Grants(store.GrantFilter{Pending: true, OldestFirst: true, After: after, Limit: pendingPage})
		if err != nil {
			return err
		}
		if len(waiting) == pendingPage {
			next = waiting[pendingPage-1].ID
		}
		for _, g := range waiting {
			if g.Case == nil || s.cfg.Directory.Concerned(quorum.CaseOf(g), who.ID()) != nil {
				continue
			}
			p, err := s.pending(r, who, g)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	return out, next, err
}

// PendingGrant is one request that concerns the caller, whether it waits or was decided.
func (s *Service) PendingGrant(ctx context.Context, who grant.Approver, id string) (p Pending, err error) {
	if err := who.Check(); err != nil {
		return Pending{}, err
	}
	err = s.cfg.Store.View(ctx, func(r store.Reader) error {
		g, err := s.decidable(r, who, id)
		if err != nil {
			return err
		}
		p, err = s.pending(r, who, g)
		return err
	})
	return p, err
}

// decidable is a grant that people decide, the caller among them.
func (s *Service) decidable(r store.Reader, who grant.Approver, id string) (store.Grant, error) {
	g, err := r.Grant(id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && g.Case == nil, s.cfg.Directory == nil:
		return store.Grant{}, grant.ErrGrantNotFound
	case err != nil:
		return store.Grant{}, err
	}
	return g, s.cfg.Directory.Concerned(quorum.CaseOf(g), who.ID())
}

func (s *Service) pending(r store.Reader, who grant.Approver, g store.Grant) (Pending, error) {
	directory, c := s.cfg.Directory, quorum.CaseOf(g)
	g, err := grant.Minted(r, g)
	if err != nil {
		return Pending{}, err
	}
	p := Pending{
		Grant: g, Broker: directory.Broker(), Person: directory.Person(who.ID()), Barred: directory.Barred(c), Named: directory.Named(c), Groups: directory.CountsFor(c, who.ID()),
	}
	if p.Task, err = r.Task(g.TaskID); err != nil && !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	if p.Votes, err = r.Approvals(g.ID); err != nil {
		return p, err
	}
	t, err := directory.Tally(r, g)
	p.Lacking = quorum.Lacking(g.Needs, t)
	return p, err
}
