package vaultplugin

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const taskType = "valetkey_task"

func (b *backend) pathTasks() *framework.Path {
	open := &framework.PathOperation{
		Callback: b.openTask, Summary: "Open a task.", ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	fields := askFields()
	return &framework.Path{
		Pattern: "tasks$",
		Fields: map[string]*framework.FieldSchema{
			"purpose": fields["purpose"], "environment": fields["environment"], "on_behalf_of": fields["on_behalf_of"],
			"ttl": {Type: framework.TypeDurationSecond, Description: "How long it may stay open; the mount's default when not given."},
		},
		Operations:   map[logical.Operation]framework.OperationHandler{logical.UpdateOperation: open},
		HelpSynopsis: "Open a task that several credentials serve.",
		HelpDescription: `
    vault write MOUNT/tasks purpose="weekly report" environment=staging

gives the id to name as task=ID at creds. It has a lease: whoever opened it can
renew that, and its end, or that of the Vault token, closes the task, which ends
all its credentials. "vault delete MOUNT/tasks/ID" closes it at once.`,
	}
}

func (b *backend) pathTask() *framework.Path {
	return &framework.Path{
		Pattern: `tasks/(?P<id>task_[a-z0-9]{26})$`,
		Fields:  map[string]*framework.FieldSchema{"id": {Type: framework.TypeString, Description: "The task's id."}},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.closeTaskPath, Summary: "Close a task of this caller's agent.", ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		},
		HelpSynopsis:    "Close a task.",
		HelpDescription: "Closing a task ends all its credentials. Closing it twice is no error.",
	}
}

func (b *backend) secretTask() *framework.Secret {
	return &framework.Secret{
		Type:   taskType,
		Renew:  b.renewTask,
		Revoke: b.revokeTask,
	}
}

func (b *backend) openTask(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	a := ask{}
	a.purpose, _ = d.Get("purpose").(string)
	a.environment, _ = d.Get("environment").(string)
	a.onBehalf, _ = d.Get("on_behalf_of").(string)
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	if err := a.forTask(who.cfg); err != nil {
		return badRequest(err)
	}
	w, task, err := b.startTask(ctx, req.Storage, who, a)
	if err != nil && w != nil {
		err = b.undo(ctx, req.Storage, who.client, w, err)
	}
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	resp := b.Secret(taskType).Response(
		map[string]any{"task": task.ID(), "agent": w.Agent, "environment": a.environment, "purpose": a.purpose},
		map[string]any{"agent": w.Agent, "task": task.ID()})
	resp.Secret.TTL = time.Duration(d.Get("ttl").(int)) * time.Second //nolint:forcetypeassert // the framework made it
	if err := b.commit(ctx, req.Storage, w); err != nil {
		return nil, answer(req.MountPoint, b.undo(ctx, req.Storage, who.client, w, err))
	}
	return resp, nil
}

func (b *backend) closeTaskPath(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	id, _ := d.Get("id").(string)
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	if err := who.client.Task(id).Close(ctx); err != nil {
		return nil, answer(req.MountPoint, err)
	}
	return nil, nil
}

// renewTask lets a task stay open as long as the mount allows. An open task gives no
// rights, so the broker is not asked: it decides on each credential in it.
func (b *backend) renewTask(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Secret: req.Secret}, nil
}

func (b *backend) revokeTask(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	ctx, l, err := b.leaseholder(ctx, req)
	if err != nil {
		return nil, err
	}
	defer l.done()
	task, _ := req.Secret.InternalData["task"].(string)
	return nil, gone(l.client.Task(task).Close(ctx))
}

// gone is nil where what was to be ended is not there any more.
func gone(err error) error {
	if errors.Is(err, valetkey.ErrTaskNotFound) || errors.Is(err, valetkey.ErrGrantNotFound) {
		return nil
	}
	return err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
