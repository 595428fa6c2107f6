package vaultplugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// handOver mints from a request of the caller's agent that people have approved, and
// gives the credential out, once. Without an answer there is none to give, and the
// grant says why. Of those who come at the same time one gets it: others wait for
// the lock, and Vault has one active node, with one process for all mounts.
func (b *backend) handOver(ctx context.Context, s logical.Storage, who caller, id string) (*logical.Response, *valetkey.Grant, error) {
	lock := locksutil.LockForKey(b.handing, id)
	if err := hold(ctx, lock); err != nil {
		return nil, nil, err
	}
	defer lock.Unlock()
	g, err := who.client.Grant(ctx, id)
	if err != nil && !errors.Is(err, valetkey.ErrGrantNotFound) {
		return nil, nil, err
	}
	w, lerr := loadWaiting(ctx, s, agentFolder(who.agent)+id)
	switch {
	case lerr != nil:
		return nil, nil, lerr
	case w == nil:
		return nil, g, err
	case err != nil || over(g.State()):
		if serr := w.settle(ctx, s, who.client); serr != nil {
			b.Logger().Warn("closing what a request left that is over; it is tried again", "grant", id, "error", serr)
		}
		return nil, g, err
	case !w.Claimed.IsZero():
		return nil, g, errClaimed
	case w.orphaned(g.State()):
		if serr := w.settle(ctx, s, who.client); serr != nil {
			b.Logger().Warn("ending a credential that nobody has; it is tried again", "grant", id, "error", serr)
			return nil, g, errClaimed
		}
		return nil, g, g.Refresh(ctx)
	case !w.mintable(g.State()):
		return nil, g, nil
	}
	// Nothing is begun that could not be ended in time.
	end, ends := ctx.Deadline()
	if !ends || time.Until(end) < mintLimit {
		return nil, g, errLate
	}
	// A caller who hangs up in the middle does not cost people's approval.
	minting, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	if err := b.disown(minting, s, w); err != nil {
		return nil, g, err
	}
	// From here on a crash ends the request: what it may have minted, nobody has.
	w.Claimed = time.Now().UTC()
	if err := w.store(minting, s); err != nil {
		return nil, g, err
	}
	resp, err := b.mintWaiting(minting, w, g)
	switch {
	case err != nil:
	case ctx.Err() != nil:
		w.Claimed, w.Dropped = time.Time{}, true
		if err = w.store(minting, s); err == nil {
			return nil, g, fmt.Errorf("handing over a credential that nobody waits for any more; reading again gives another: %w", context.Cause(ctx))
		}
	default:
		err = w.remove(minting, s)
	}
	if err != nil {
		return nil, g, b.unclaim(ctx, s, who.client, w, g, err)
	}
	return resp, g, nil
}

// disown forgets what a crash may have left in Vault's log when the request was made:
// its rollback would end the task under who has the credential.
func (b *backend) disown(ctx context.Context, s logical.Storage, w *waiting) error {
	if w.Log == "" {
		return nil
	}
	err := b.commit(ctx, s, &wal{id: w.Log})
	w.Log = ""
	return err
}

func (b *backend) mintWaiting(ctx context.Context, w *waiting, g *valetkey.Grant) (*logical.Response, error) {
	cred, err := g.Mint(ctx)
	if err != nil {
		return nil, err
	}
	a := ask{
		scope: g.Info().GetScope(), params: valetkey.Params{},
		ttl: time.Duration(w.TTL) * time.Second, lease: time.Duration(w.Lease) * time.Second,
	}
	for name, v := range g.Info().GetParameters() {
		a.params[name] = v.GetValues()
	}
	resp, err := b.lease(a, minted{grant: g, cred: cred, agent: w.Agent, task: w.Task, own: w.OwnTask})
	if err != nil {
		return nil, err
	}
	resp.Data["id"], resp.Data["state"] = g.ID(), valetkeyv1.GrantState_GRANT_STATE_ACTIVE.Word()
	// People approved this life and no other, and renewing must not ask them again.
	resp.Secret.Renewable = false
	return resp, nil
}

// unclaim cleans up after a handing over that failed with cause, and returns that.
// Where the broker says that nothing was minted, the approval stands and the request
// can be read again, unless what people approved cannot be had any more. Otherwise it
// is ended; what cannot be ended now, sweep does.
func (b *backend) unclaim(ctx context.Context, s logical.Storage, client *valetkey.Client, w *waiting, g *valetkey.Grant, cause error) error {
	if silent(cause) {
		return cause // nobody to ask; the caller has waited long enough
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var err error
	void := errors.Is(cause, valetkey.ErrNeedsApproval) || errors.Is(cause, valetkey.ErrStaleScopeVersion) || errors.Is(cause, valetkey.ErrUnknownScope)
	if _, refused := valetkey.RefusalOf(cause); refused && !void {
		// An answer that was lost before the refusal would have made it active.
		err = g.Refresh(ctx)
		if err == nil && g.State() == valetkeyv1.GrantState_GRANT_STATE_CLEARED {
			w.Claimed, w.Tried = time.Time{}, true
			if err = w.store(ctx, s); err == nil {
				return cause
			}
		}
	}
	if err == nil {
		err = w.settle(ctx, s, client)
	}
	if err != nil {
		b.Logger().Warn("cleaning up after a handing over that failed; it is tried again", "agent", w.Agent, "grant", w.Grant, "error", err)
	}
	return cause
}

// again answers a caller who asks for what it has asked for before, while that waits:
// it is the same request, and nobody is asked twice. Without an answer and an error
// there is none.
func (b *backend) again(ctx context.Context, req *logical.Request, who caller, a ask) (*logical.Response, error) {
	folder := agentFolder(who.agent)
	grants, err := req.Storage.List(ctx, folder)
	if err != nil || len(grants) == 0 {
		return nil, err
	}
	digest, err := a.digest()
	if err != nil {
		return nil, err
	}
	for _, id := range grants {
		w, err := loadWaiting(ctx, req.Storage, folder+id)
		if err != nil {
			return nil, err
		}
		if w == nil || w.Ask != digest {
			continue
		}
		resp, g, err := b.handOver(ctx, req.Storage, who, id)
		switch {
		case errors.Is(err, valetkey.ErrGrantNotFound):
		case resp != nil || err != nil:
			return resp, err
		case g.State() == valetkeyv1.GrantState_GRANT_STATE_PENDING:
			return pending(req.MountPoint, g)
		}
	}
	return nil, nil
}
