package vaultplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const (
	// walTask is a task that is about to be opened: repeating the opening with the
	// same key names it, whether it was opened or not, and closing it ends all that
	// was minted in it.
	walTask = "task"
	// walGrant is a grant in a task of the caller's, about to be minted from.
	walGrant = "grant"

	// keysLive is how long the broker certainly remembers an idempotency key. What is
	// older cannot be named any more, and ends at its deadline.
	keysLive = 24 * time.Hour

	// undoLimit bounds cleaning up after a request that failed.
	undoLimit = 10 * time.Second
)

// wal is one entry of Vault's write-ahead log: what a crash would leave behind. It
// holds no secret.
type wal struct {
	id string

	Kind  string    `json:"kind"`
	At    time.Time `json:"at"`
	Agent string    `json:"agent"`

	// Of walTask.
	TaskKey     string `json:"task_key,omitempty"`
	Purpose     string `json:"purpose,omitempty"`
	Environment string `json:"environment,omitempty"`
	OnBehalfOf  string `json:"on_behalf_of,omitempty"`

	// Of walGrant.
	Grant string `json:"grant,omitempty"`
}

func (b *backend) intend(ctx context.Context, s logical.Storage, w *wal) (err error) {
	w.At = time.Now().UTC()
	// ErrReadOnly passes as it is: Vault then sends the request on to the active node.
	w.id, err = framework.PutWAL(ctx, s, w.Kind, w)
	return err
}

// startTask opens a task for the caller, written down before. With an error the
// entry is nil where there is nothing to undo.
func (b *backend) startTask(ctx context.Context, s logical.Storage, who caller, a ask) (*wal, *valetkey.Task, error) {
	w := &wal{
		Kind: walTask, Agent: who.agent, TaskKey: valetkey.NewIdempotencyKey(),
		Purpose: a.purpose, Environment: a.environment, OnBehalfOf: a.onBehalf,
	}
	if err := b.intend(ctx, s, w); err != nil {
		return nil, nil, err
	}
	task, err := w.openTask(ctx, who.client)
	if _, refused := valetkey.RefusalOf(err); refused {
		if cerr := b.commit(ctx, s, w); cerr != nil {
			b.Logger().Warn("forgetting a task that was refused; it is rolled back later", "error", cerr)
		}
		return nil, nil, err
	}
	return w, task, err
}

// commit forgets the entry: from here on the lease sees to the end.
func (b *backend) commit(ctx context.Context, s logical.Storage, w *wal) error {
	if err := framework.DeleteWAL(ctx, s, w.id); err != nil {
		return fmt.Errorf("committing the write-ahead log: %w", err)
	}
	return nil
}

// openTask opens the entry's task, or names it where it is open.
func (w *wal) openTask(ctx context.Context, client *valetkey.Client) (*valetkey.Task, error) {
	return client.OpenTaskOnce(ctx, w.TaskKey, valetkey.TaskSpec{Purpose: w.Purpose, Environment: w.Environment, OnBehalfOf: w.OnBehalfOf})
}

// release ends a grant, if there is one.
func release(ctx context.Context, client *valetkey.Client, grant string) error {
	g, err := client.Grant(ctx, grant)
	if err == nil {
		err = g.Release(ctx)
	}
	return gone(err)
}

// end ends what the entry is about.
func (w *wal) end(ctx context.Context, client *valetkey.Client) error {
	if w.Kind == walGrant {
		return release(ctx, client, w.Grant)
	}
	task, err := w.openTask(ctx, client)
	switch {
	case errors.Is(err, valetkey.ErrTaskClosed): // closed, and pruned since
		return nil
	case err != nil:
		return err
	}
	return gone(task.Close(ctx))
}

// undo cleans up after a request that failed with cause, and returns that. Where
// it cannot, the entry stays, and Vault rolls it back.
func (b *backend) undo(ctx context.Context, s logical.Storage, client *valetkey.Client, w *wal, cause error) error {
	if silent(cause) {
		return cause // nobody to tell; the caller has waited long enough
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	err := w.end(ctx, client)
	if err == nil {
		err = framework.DeleteWAL(ctx, s, w.id)
	}
	if err != nil {
		b.Logger().Warn("cleaning up after a request that failed; it is rolled back later", "agent", w.Agent, "error", err)
	}
	return cause
}

// rollback ends what a request left that never came to its lease. Vault calls it
// about once a minute, on the active node, with entries older than rollbackAge.
func (b *backend) rollback(ctx context.Context, req *logical.Request, kind string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("reading the write-ahead log: %w", err)
	}
	var w wal
	if err := json.Unmarshal(raw, &w); err != nil {
		return fmt.Errorf("reading the write-ahead log: %w", err)
	}
	if w.Kind != kind || kind != walTask && kind != walGrant {
		return fmt.Errorf("reading the write-ahead log: unknown kind %q", kind)
	}
	if time.Since(w.At) > keysLive {
		b.Logger().Error("could not roll back for a day, so what was minted ended at its own deadline", "agent", w.Agent, "grant", w.Grant, "at", w.At)
		return nil
	}
	agent, err := spiffeid.FromString(w.Agent)
	if err != nil {
		return fmt.Errorf("reading the write-ahead log: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	l, err := b.open(ctx, req.Storage)
	if err != nil {
		return err
	}
	defer l.done()
	if err := w.end(valetkey.SpeakFor(ctx, agent), l.client); err != nil {
		b.Logger().Warn("rolling back; it is tried again", "agent", w.Agent, "error", err) // Vault itself says nothing
		return err
	}
	b.Logger().Info("rolled back what a request left without a lease", "agent", w.Agent, "kind", kind)
	return nil
}
