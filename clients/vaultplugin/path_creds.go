package vaultplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func (b *backend) pathCreds() *framework.Path {
	op := &framework.PathOperation{
		Callback: b.readCreds, Summary: "Get a credential.", ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	return &framework.Path{
		Pattern: "creds/" + scopeName + "$", Fields: askFields(), TakesArbitraryInput: true,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: op, logical.UpdateOperation: op,
		},
		HelpSynopsis: "A credential that is narrowed for this request.",
		HelpDescription: `
    vault read MOUNT/creds/s3-prefix-read bucket=prod prefix=reports/ \
        purpose="weekly report" environment=staging

Scopes and their parameters are listed at scopes. The broker decides each request
and records it. The lease's end ends the credential: at once where its provider can
do that, and at the credential's own deadline otherwise; the field "revocation" says
which. A lease never lives longer than its credential, and renewing it hands over no
new one: read again for that.

Where people have to approve a request, the answer is an error of 403 that says so,
whom it needs, until when, and the request's id. Reading the same again is the same
request: it gives the credential once they have. So does requests/ID.`,
	}
}

func (b *backend) readCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	a, err := readAsk(req, d)
	if err == nil {
		err = a.inTask()
	}
	if err != nil {
		return badRequest(err)
	}
	ctx, who, err := b.caller(ctx, req)
	if err != nil {
		return nil, answer(req.MountPoint, err)
	}
	defer who.done()
	give := b.giveInTask
	if a.task == "" {
		if err := a.forTask(who.cfg); err != nil {
			return badRequest(err)
		}
		give = b.giveAlone
	}
	resp, err := give(ctx, req, who, a)
	return resp, answer(req.MountPoint, err)
}

// giveAlone answers with a credential that has a task of its own, or with the request
// that waits for people.
func (b *backend) giveAlone(ctx context.Context, req *logical.Request, who caller, a ask) (*logical.Response, error) {
	digest, err := a.digest()
	if err != nil {
		return nil, err
	}
	same := agentFolder(who.agent) + digest
	lock := locksutil.LockForKey(b.asking, same)
	direct, done, err := b.turn(ctx, lock, same)
	if err != nil {
		return nil, err
	}
	defer func() { done() }()
	resp, m, w, err := b.tryAlone(ctx, req, who, a)
	if direct && m.pending() {
		b.direct.forget(same)
		_ = b.undo(ctx, req.Storage, who.client, w, errPeople) // what cannot be taken back now is rolled back
		if err := hold(ctx, lock); err != nil {
			return nil, err
		}
		done = lock.Unlock
		resp, m, w, err = b.tryAlone(ctx, req, who, a)
	}
	if !m.pending() {
		if err == nil && w != nil {
			b.direct.add(same)
		}
		return resp, err
	}
	if err := b.conclude(ctx, req.Storage, who, w, b.wait(ctx, req.Storage, a, m)); err != nil {
		return nil, err
	}
	return pending(req.MountPoint, m.grant)
}

// tryAlone asks once. Of what waits for people nothing is concluded: that is the log entry
// that it comes with. Without a log entry the answer is of what had been asked for before.
func (b *backend) tryAlone(ctx context.Context, req *logical.Request, who caller, a ask) (*logical.Response, minted, *wal, error) {
	if resp, err := b.again(ctx, req, who, a); resp != nil || err != nil {
		return resp, minted{}, nil, err
	}
	m, w, err := b.mintAlone(ctx, req.Storage, who, a)
	if err == nil && m.pending() {
		return nil, m, w, nil
	}
	var resp *logical.Response
	if err == nil {
		resp, err = b.lease(a, m)
	}
	if err = b.conclude(ctx, req.Storage, who, w, err); err != nil {
		return nil, minted{}, w, err
	}
	return resp, m, w, nil
}

// giveInTask is giveAlone in a task of the caller's, which must outlive the credential.
// So it is the grant that is written down, before anything is minted from it: one
// that a crash leaves without is empty.
func (b *backend) giveInTask(ctx context.Context, req *logical.Request, who caller, a ask) (*logical.Response, error) {
	m, w, resp, err := b.requestInTask(ctx, req, who, a)
	if w == nil {
		return resp, err
	}
	if m.cred, err = m.grant.Mint(ctx); err == nil {
		resp, err = b.lease(a, m)
	}
	if err = b.conclude(ctx, req.Storage, who, w, err); err != nil {
		return nil, err
	}
	return resp, nil
}

// requestInTask asks for a grant, to be minted from by its log entry. Without one it
// is answered here. What waits for people has none: nothing is minted from it before
// it is claimed, and an entry's rollback would end it under who has it by then.
func (b *backend) requestInTask(ctx context.Context, req *logical.Request, who caller, a ask) (m minted, _ *wal, _ *logical.Response, _ error) {
	digest, err := a.digest()
	if err != nil {
		return m, nil, nil, err
	}
	same := agentFolder(who.agent) + digest
	lock := b.askingIn(who.agent, a.task, a.scope)
	direct, done, err := b.turn(ctx, lock, same)
	if err != nil {
		return m, nil, nil, err
	}
	defer func() { done() }()
	m, w, resp, err := b.tryInTask(ctx, req, who, a)
	if direct && m.pending() {
		b.direct.forget(same)
		if err := hold(ctx, lock); err != nil {
			return m, nil, nil, err
		}
		done = lock.Unlock
		m, w, resp, err = b.tryInTask(ctx, req, who, a) // the broker has the same grant for who asks again
	}
	if !m.pending() {
		if err == nil && w != nil {
			b.direct.add(same)
		}
		return m, w, resp, err
	}
	if err := b.wait(ctx, req.Storage, a, m); err != nil {
		return m, nil, nil, err
	}
	resp, err = pending(req.MountPoint, m.grant)
	return m, nil, resp, err
}

// tryInTask asks once. What is minted from has a log entry; what waits for people has none.
func (b *backend) tryInTask(ctx context.Context, req *logical.Request, who caller, a ask) (m minted, _ *wal, _ *logical.Response, _ error) {
	if resp, err := b.again(ctx, req, who, a); resp != nil || err != nil {
		return m, nil, resp, err
	}
	g, err := who.client.Task(a.task).Request(ctx, a.scope, a.params, a.options()...)
	if err != nil {
		return m, nil, nil, err
	}
	m = minted{grant: g, agent: who.agent, task: a.task}
	if m.pending() {
		return m, nil, nil, nil
	}
	w := &wal{Kind: walGrant, Agent: who.agent, Grant: g.ID()}
	if err := b.intend(ctx, req.Storage, w); err != nil {
		return m, nil, nil, err
	}
	return m, w, nil, nil
}

// conclude forgets the log entry of what went well, and cleans up after what failed
// with err. w is nil where there is nothing to clean up.
func (b *backend) conclude(ctx context.Context, s logical.Storage, who caller, w *wal, err error) error {
	if err == nil {
		err = b.commit(ctx, s, w)
	}
	if err != nil && w != nil {
		err = b.undo(ctx, s, who.client, w, err)
	}
	return err
}

// minted is a credential and what it belongs to.
type minted struct {
	grant *valetkey.Grant
	cred  valetkey.Credential
	agent string
	task  string
	// own says that the task was opened for this credential alone.
	own bool
	// log is the id of the log entry of its own task; empty for none.
	log string
}

// pending says that people have to approve it first, and that nothing was minted.
func (m minted) pending() bool {
	return m.grant != nil && m.grant.State() == valetkeyv1.GrantState_GRANT_STATE_PENDING
}

// mintAlone opens a task for the one credential. Its log entry comes first and
// names the task, so that nothing is open that is not written down.
func (b *backend) mintAlone(ctx context.Context, s logical.Storage, who caller, a ask) (minted, *wal, error) {
	w, task, err := b.startTask(ctx, s, who, a)
	if err != nil {
		return minted{}, w, err
	}
	g, cred, err := task.RequestCredential(ctx, a.scope, a.params, a.options()...)
	m := minted{grant: g, cred: cred, agent: w.Agent, task: task.ID(), own: true, log: w.id}
	if errors.Is(err, valetkey.ErrNeedsApproval) && m.pending() {
		err = nil
	}
	return m, w, err
}

// lease makes Vault's answer. The one place where a secret leaves its Credential.
func (b *backend) lease(a ask, m minted) (*logical.Response, error) {
	left := time.Until(m.cred.ExpiresAt()).Truncate(time.Second)
	if left <= 0 {
		return nil, fmt.Errorf("the credential of %s was over before it came; is this machine's clock right?", m.grant.ID())
	}
	params, err := json.Marshal(a.params)
	if err != nil {
		return nil, fmt.Errorf("encoding parameters: %w", err)
	}
	data := map[string]any{
		"agent": m.agent, "task": m.task, "grant": m.grant.ID(), "scope": a.scope, "expires_at": stamp(m.cred.ExpiresAt()),
		"receipt_index": m.cred.Receipt().Index, "ttl": int64(left.Seconds()),
	}
	reveal(data, m.cred.Reveal())
	resp := b.Secret(credentialType).Response(data, map[string]any{
		"agent": m.agent, "task": m.task, "own_task": m.own, "grant": m.grant.ID(), "scope": a.scope, "parameters": string(params),
		"ttl": int64(a.ttl.Seconds()), "expires_at": m.cred.ExpiresAt().Unix(), "lease": int64(a.lease.Seconds()),
	})
	resp.Secret.TTL, resp.Secret.MaxTTL = left, left
	if a.lease > 0 {
		resp.Secret.TTL = min(left, a.lease)
	}
	return resp, nil
}

// reveal writes the secret out, by the names that Vault's own engines use.
func reveal(data map[string]any, secret valetkey.Secret) {
	if s := secret.AWS; s != nil {
		data["access_key"], data["secret_key"] = s.AccessKeyID, s.SecretAccessKey
		data["security_token"], data["session_token"] = s.SessionToken, s.SessionToken
		data["region"], data["endpoint"] = s.Region, s.Endpoint
		data["revocation"] = "with the lease where the broker's role can end a session (MinIO, and AWS with revoke.role_deny); else at expires_at"
	}
	if s := secret.Vault; s != nil {
		data["address"], data["namespace"], data["accessor"] = s.Address, s.Namespace, s.Accessor
		if s.Token != "" {
			data["token"] = s.Token
		}
		if s.WrappingToken != "" {
			data["wrapping_token"] = s.WrappingToken
		}
		if len(s.DataJSON) > 0 {
			var inner map[string]any
			if json.Unmarshal(s.DataJSON, &inner) == nil {
				data["data"] = inner
			}
			data["dynamic_lease"] = s.LeaseID
		}
		data["revocation"] = "with the lease"
	}
}
