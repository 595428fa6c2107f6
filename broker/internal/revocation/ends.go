package revocation

import (
	"context"
	"errors"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// End ends an open grant and puts the end of each of its credentials into the
// work table.
func End(t *ledger.Tx, g *store.Grant, e grant.End) error {
	issued, err := t.Issuances(store.IssuanceFilter{GrantID: g.ID, State: store.IssuanceIssued})
	if err != nil {
		return err
	}
	c, err := e.Grant(*g, issued, t.Now())
	if err != nil {
		return err
	}
	*g = c.Grant()
	return t.Change(c)
}

// ReleaseGrant ends the caller's grant. A second release is no error. key may be
// empty; see package repeats.
func (s *Service) ReleaseGrant(ctx context.Context, who grant.Caller, key, id string) (store.Grant, error) {
	if _, err := grant.Own(ctx, s.cfg.Store, who, id); err != nil {
		return store.Grant{}, err
	}
	return s.endGrant(ctx, repeats.Key{Who: who, Key: key, Content: grant.Content("release grant", id)}, id, grant.ByAgent(who, "released"))
}

// RevokeGrant ends any grant, for an operator. key may be empty.
func (s *Service) RevokeGrant(ctx context.Context, operator grant.Operator, key, id, cause string) (store.Grant, error) {
	if err := operator.Check(); err != nil {
		return store.Grant{}, err
	}
	return s.endGrant(ctx, repeats.Key{Who: operator, Key: key, Content: grant.Content("revoke grant", id, cause)}, id, grant.ByOperator(operator, cause))
}

func (s *Service) endGrant(ctx context.Context, key repeats.Key, id string, e grant.End) (g store.Grant, err error) {
	err = s.keyed(ctx, key, func(t *ledger.Tx, key repeats.Key) error {
		var first store.Grant
		if known, err := key.Recall(t, &first); err != nil || known {
			g = first
			return err
		}
		if g, err = t.Grant(id); err != nil {
			return grant.NotFound(err, grant.ErrGrantNotFound)
		}
		if !g.State.Open() {
			return s.keepIdle(t, key, e, id, g)
		}
		if err := End(t, &g, e); err != nil {
			return err
		}
		return key.Keep(t, id, g)
	})
	if err == nil {
		s.cfg.Notify.Announce(id)
		s.Wake()
	}
	return g, s.Salvaged(ctx, err, id, e)
}

// CloseTask closes the caller's task and ends its grants.
// key may be empty; see package repeats.
func (s *Service) CloseTask(ctx context.Context, who grant.Caller, key, id string) (store.Task, []string, error) {
	if _, err := grant.OwnTask(ctx, s.cfg.Store, who, id); err != nil {
		return store.Task{}, nil, err
	}
	return s.endTask(ctx, repeats.Key{Who: who, Key: key, Content: grant.Content("close task", id)}, id, grant.ByAgent(who, "task closed"))
}

// RevokeTask closes any task and ends its grants, for an operator. key may be
// empty.
func (s *Service) RevokeTask(ctx context.Context, operator grant.Operator, key, id, cause string) (store.Task, []string, error) {
	if err := operator.Check(); err != nil {
		return store.Task{}, nil, err
	}
	return s.endTask(ctx, repeats.Key{Who: operator, Key: key, Content: grant.Content("revoke task", id, cause)}, id, grant.ByOperator(operator, cause))
}

// taskEnd is what the end of a task is answered with.
type taskEnd struct {
	Task  store.Task
	Ended []string
}

func (s *Service) endTask(ctx context.Context, key repeats.Key, id string, e grant.End) (task store.Task, ended []string, err error) {
	err = s.keyed(ctx, key, func(t *ledger.Tx, key repeats.Key) error {
		var first taskEnd
		if known, err := key.Recall(t, &first); err != nil || known {
			task, ended = first.Task, first.Ended
			return err
		}
		ended = nil
		if task, err = t.Task(id); err != nil {
			return grant.NotFound(err, grant.ErrTaskNotFound)
		}
		if !task.ClosedAt.IsZero() {
			return s.keepIdle(t, key, e, id, taskEnd{Task: task})
		}
		var c grant.Change
		task, c = e.Task(task, t.Now())
		if err := t.Change(c); err != nil {
			return err
		}
		grants, err := t.Grants(store.GrantFilter{TaskID: id, Agent: task.Agent, Open: true, Limit: -1})
		if err != nil {
			return err
		}
		for _, g := range grants {
			if err := End(t, &g, e); err != nil {
				return err
			}
			ended = append(ended, g.ID)
		}
		return key.Keep(t, id, taskEnd{Task: task, Ended: ended})
	})
	if errors.Is(err, store.ErrDamaged) {
		return task, nil, errors.Join(err, s.endTaskApart(ctx, id, e))
	}
	if err == nil {
		s.cfg.Notify.Announce(ended...)
		s.Wake()
	}
	return task, ended, err
}

// keepIdle is key.Keep after a call that changed nothing. It takes one of an agent's
// tokens: such calls are free of records, and must not be a way to fill the
// store with keys.
func (s *Service) keepIdle(t *ledger.Tx, key repeats.Key, e grant.End, about string, answer any) error {
	if key.Key == "" {
		return nil
	}
	if !e.Urgent() {
		if err := s.cfg.Guard.Throttle(t, key.Who.Agent()); err != nil {
			return err
		}
	}
	return key.Keep(t, about, answer)
}
