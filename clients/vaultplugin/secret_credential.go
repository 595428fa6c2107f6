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
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// credentialType is a kind of lease.
const credentialType = "valetkey_credential" //nolint:gosec // a name

func (b *backend) secretCredential() *framework.Secret {
	field := func(text string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: text}
	}
	return &framework.Secret{
		Type: credentialType,
		Fields: map[string]*framework.FieldSchema{
			"access_key": field("AWS access key id."), "secret_key": field("AWS secret key."), "security_token": field("AWS session token."),
			"token": field("Vault token."),
		},
		Renew:  b.renewCredential,
		Revoke: b.revokeCredential,
	}
}

// held is what a lease remembers. It holds no secret.
type held struct {
	Agent      string `json:"agent"`
	Task       string `json:"task"`
	OwnTask    bool   `json:"own_task"`
	Grant      string `json:"grant"`
	Scope      string `json:"scope"`
	Parameters string `json:"parameters"`
	TTL        int64  `json:"ttl"`
	ExpiresAt  int64  `json:"expires_at"`
	Lease      int64  `json:"lease"`
}

func heldBy(req *logical.Request) (h held, err error) {
	raw, err := json.Marshal(req.Secret.InternalData)
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil || h.Agent == "" {
		return h, errors.Join(errors.New("reading what the lease is about"), err)
	}
	return h, nil
}

// leaseholder speaks for the agent that a lease was given to, whoever ends it.
func (b *backend) leaseholder(ctx context.Context, req *logical.Request) (context.Context, *link, error) {
	h, err := heldBy(req)
	if err != nil {
		return ctx, nil, err
	}
	agent, err := spiffeid.FromString(h.Agent)
	if err != nil {
		return ctx, nil, fmt.Errorf("reading the lease's agent: %w", err)
	}
	l, err := b.open(ctx, req.Storage)
	return valetkey.SpeakFor(ctx, agent), l, err
}

// revokeCredential ends the grant, and the task that was opened for it. An error
// makes Vault try again. After the credential's own deadline there is nothing left
// that works, so that a broker which is gone holds no lease up for ever.
func (b *backend) revokeCredential(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	h, err := heldBy(req)
	if err != nil {
		return nil, err
	}
	err = b.endHeld(ctx, req, h)
	if err != nil && time.Now().After(time.Unix(h.ExpiresAt, 0).Add(time.Minute)) {
		b.Logger().Warn("the broker was not told of a lease's end; its credential was over already", "grant", h.Grant, "error", err)
		return nil, nil
	}
	return nil, err
}

func (b *backend) endHeld(ctx context.Context, req *logical.Request, h held) error {
	ctx, l, err := b.leaseholder(ctx, req)
	if err != nil {
		return err
	}
	defer l.done()
	if h.OwnTask {
		return gone(l.client.Task(h.Task).Close(ctx))
	}
	return release(ctx, l.client, h.Grant)
}

// renewCredential asks the broker whether it would grant the same today, by asking
// for a grant in the same task and giving it back unused: policy, limits and freezes
// all count, and both are on the record. A yes lengthens the lease, never past the
// end of the credential, which stays the same: STS cannot lengthen a session, and
// a renewal has no way to hand over another.
func (b *backend) renewCredential(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	h, err := heldBy(req)
	if err != nil {
		return nil, err
	}
	left := time.Until(time.Unix(h.ExpiresAt, 0)).Truncate(time.Second)
	if left <= 0 {
		return logical.ErrorResponse("the credential of %s was over at %s, and renewing cannot hand over another; read creds/%s again",
			h.Grant, stamp(time.Unix(h.ExpiresAt, 0)), h.Scope), logical.ErrInvalidRequest
	}
	ctx, l, err := b.leaseholder(ctx, req)
	if err != nil {
		return nil, err
	}
	defer l.done()
	if err := b.stillGranted(ctx, req.Storage, l.client, h); err != nil {
		return nil, answer(req.MountPoint, err)
	}
	resp := &logical.Response{Secret: req.Secret}
	resp.Secret.TTL, resp.Secret.MaxTTL = left, left
	if issued := req.Secret.IssueTime; !issued.IsZero() {
		// Vault counts this from the beginning, and lets an increment go up to it.
		resp.Secret.MaxTTL = time.Unix(h.ExpiresAt, 0).Sub(issued).Truncate(time.Second)
	}
	if req.Secret.Increment > 0 {
		resp.Secret.TTL = min(left, req.Secret.Increment)
	} else if h.Lease > 0 {
		resp.Secret.TTL = min(left, time.Duration(h.Lease)*time.Second)
	}
	return resp, nil
}

func (b *backend) stillGranted(ctx context.Context, s logical.Storage, client *valetkey.Client, h held) error {
	g, err := client.Grant(ctx, h.Grant)
	if err != nil {
		return err
	}
	if g.State() != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		return fmt.Errorf("%w: grant %s was %s at the broker", logical.ErrInvalidRequest, h.Grant, g.State().Word())
	}
	var params valetkey.Params
	if err := json.Unmarshal([]byte(h.Parameters), &params); err != nil {
		return fmt.Errorf("reading the lease's parameters: %w", err)
	}
	opts := []valetkey.RequestOption{valetkey.WithJustification("renewing the lease of " + h.Grant)}
	if h.TTL > 0 {
		opts = append(opts, valetkey.WithTTL(time.Duration(h.TTL)*time.Second))
	}
	// What people are asked for now, somebody else may be told of in a moment.
	lock := b.askingIn(h.Agent, h.Task, h.Scope)
	if err := hold(ctx, lock); err != nil {
		return err
	}
	defer lock.Unlock()
	again, err := client.Task(h.Task).Request(ctx, h.Scope, params, opts...)
	if err != nil {
		return err
	}
	if again.State() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
		return again.Release(ctx)
	}
	// Policy wants people for this since the lease began. Nobody is to be asked for a
	// renewal; but in a task of the caller's it may be its own request that waits.
	w, err := loadWaiting(ctx, s, agentFolder(h.Agent)+again.ID())
	if err == nil && w == nil {
		err = again.Release(ctx)
	}
	if err != nil {
		b.Logger().Warn("giving back what was asked for to renew a lease; it lapses", "grant", again.ID(), "error", err)
	}
	return fmt.Errorf("%w: people have to approve this now (%s), and a renewal asks nobody; the lease stays as long as it is, then read creds/%s again",
		logical.ErrInvalidRequest, valetkeyv1.NeedsText(again.Info().GetNeeds()), h.Scope)
}
