package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// NewTask is what an agent says of a task it opens.
type NewTask struct{ Key, Purpose, Environment, OnBehalfOf string }

// OpenTask opens a task for the caller.
func (b *Broker) OpenTask(ctx context.Context, who Caller, n NewTask) (task store.Task, err error) {
	content := contentOf("task", n.Purpose, n.Environment, n.OnBehalfOf)
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p := passage{tx: t, who: who}
		repeat, err := p.repeated(n.Key, content)
		if err != nil {
			return err
		}
		if repeat != "" {
			task, err = t.Task(repeat)
			return notFound(err, ErrTaskClosed) // so long ago that it was pruned
		}
		if err := b.cfg.Guard.Throttle(t, who.Agent); err != nil {
			return err
		}
		task = store.Task{
			ID: newID("task", t.Now()), Agent: who.id(), Purpose: n.Purpose, Environment: n.Environment,
			OnBehalfOf: n.OnBehalfOf, OpenedAt: t.Now(),
		}
		if err := t.PutTask(task); err != nil {
			return err
		}
		if err := p.remember(n.Key, content, task.ID); err != nil {
			return err
		}
		_, err = t.Record(ledger.Record{
			Type: ledger.TaskOpened, Correlation: who.Correlation, Agent: who.id(), Delegate: who.delegate(), Subject: n.OnBehalfOf,
			Task: task.ID, Purpose: n.Purpose,
		})
		return err
	})
	return task, err
}

// CloseTask closes the caller's task and ends its grants.
// key may be empty; see repeats.go.
func (b *Broker) CloseTask(ctx context.Context, who Caller, key, id string) (store.Task, []string, error) {
	if _, err := b.ownTask(ctx, who.id(), id); err != nil {
		return store.Task{}, nil, err
	}
	return b.endTask(ctx, who, key, contentOf("close task", id), id, ending{
		state: store.GrantReleased, grantType: ledger.GrantReleased, taskType: ledger.TaskClosed,
		cause: "task closed", delegate: who.delegate(), correlation: who.Correlation,
	})
}

// RevokeTask closes any task and ends its grants, for an operator. key may be
// empty.
func (b *Broker) RevokeTask(ctx context.Context, operator Caller, key, id, cause string) (store.Task, []string, error) {
	return b.endTask(ctx, operator, key, contentOf("revoke task", id, cause), id, ending{
		state: store.GrantRevoked, grantType: ledger.GrantRevoked, taskType: ledger.TaskRevoked,
		cause: cause, operator: operator.id(), correlation: operator.Correlation,
	})
}

// taskEnd is what the end of a task is answered with.
type taskEnd struct {
	Task  store.Task
	Ended []string
}

func (b *Broker) endTask(ctx context.Context, who Caller, key, content, id string, e ending) (task store.Task, ended []string, err error) {
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		p := passage{tx: t, who: who}
		var first taskEnd
		if known, err := p.recall(key, content, &first); err != nil || known {
			task, ended = first.Task, first.Ended
			return err
		}
		ended = nil
		if task, err = t.Task(id); err != nil {
			return notFound(err, ErrTaskNotFound)
		}
		if !task.ClosedAt.IsZero() {
			return b.keepIdle(&p, e, key, content, id, taskEnd{Task: task})
		}
		task.ClosedAt = t.Now()
		if err := t.PutTask(task); err != nil {
			return err
		}
		if _, err := t.Record(ledger.Record{
			Type: e.taskType, Correlation: e.correlation, Agent: task.Agent, Delegate: e.delegate, Operator: e.operator, Task: id, Cause: e.cause,
		}); err != nil {
			return err
		}
		grants, err := t.Grants(store.GrantFilter{TaskID: id, Open: true, Limit: -1})
		if err != nil {
			return err
		}
		for _, g := range grants {
			if err := b.end(t, &g, e); err != nil {
				return err
			}
			ended = append(ended, g.ID)
		}
		return p.keep(key, content, id, taskEnd{Task: task, Ended: ended})
	})
	if err == nil {
		b.watches.announce(ended...)
		b.wake()
	}
	return task, ended, err
}

// task returns the caller's open task.
func (b *Broker) task(ctx context.Context, agent, id string) (store.Task, error) {
	t, err := b.ownTask(ctx, agent, id)
	if err == nil && !t.ClosedAt.IsZero() {
		err = ErrTaskClosed
	}
	return t, err
}

func (b *Broker) ownTask(ctx context.Context, agent, id string) (task store.Task, err error) {
	err = b.cfg.Store.View(ctx, func(r store.Reader) error {
		task, err = r.Task(id)
		return err
	})
	if err == nil && task.Agent != agent {
		err = store.ErrNotFound // another's task is no task: ids tell nothing
	}
	return task, notFound(err, ErrTaskNotFound)
}

func notFound(err, as error) error {
	if errors.Is(err, store.ErrNotFound) {
		return as
	}
	return err
}

// newID is kind, then 48 bits of milliseconds and 80 of randomness in an
// alphabet that sorts as it counts, so that newest first is an index scan.
func newID(kind string, now time.Time) string {
	var raw [16]byte
	ms := now.UnixMilli()
	for i := range 6 {
		raw[i] = byte(ms >> (8 * (5 - i)) & 0xff)
	}
	_, _ = rand.Read(raw[6:]) // never fails: crypto/rand ends the process instead
	return kind + "_" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:]))
}
