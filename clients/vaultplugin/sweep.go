package vaultplugin

import (
	"context"
	"errors"
	"math/rand/v2"
	"path"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// forgetAfter is how long past its decide_by a request is looked after that the
// broker gives no answer about: the longest life of a grant, and a day.
const forgetAfter = 12*time.Hour + keysLive

// sweep looks after the requests that wait, whether or not anybody comes back for
// them: it closes the task of what is over, and ends what a crash left half handed
// over. Vault calls it about once a minute, on the active node.
func (b *backend) sweep(ctx context.Context, req *logical.Request) error {
	if !b.WriteSafeReplicationState() {
		return nil
	}
	keys, err := logical.CollectKeys(ctx, logical.NewStorageView(req.Storage, waitingPrefix))
	if err != nil || len(keys) == 0 {
		return err
	}
	// What does not get its turn within the limit, does next time.
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] }) //nolint:gosec // an order; nothing to guess
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, immediate := req.Data["immediate"] // as Vault's log has it
	l, away := b.open(limited, req.Storage)
	if away == nil {
		defer l.done()
	} else {
		b.Logger().Warn("looking after requests that wait; it is tried again", "requests", len(keys), "error", away)
	}
	for _, key := range keys {
		key, err := waitingPrefix+key, away
		if away == nil {
			if err = b.look(limited, req.Storage, l.client, key, immediate); err == nil {
				continue
			}
			b.Logger().Warn("looking after a request that waits; it is tried again", "grant", path.Base(key), "error", err)
			if errors.Is(err, valetkey.ErrUnavailable) || errors.Is(err, valetkey.ErrBrokerIdentity) || limited.Err() != nil {
				away = err
			}
		}
		b.giveUp(ctx, req.Storage, key, err)
	}
	return nil
}

// look is sweep's, at one request.
func (b *backend) look(ctx context.Context, s logical.Storage, client *valetkey.Client, key string, immediate bool) error {
	lock := locksutil.LockForKey(b.handing, path.Base(key))
	lock.Lock()
	defer lock.Unlock()
	w, err := loadWaiting(ctx, s, key)
	if err != nil || w == nil { // it may have been handed over
		return err
	}
	if ctx, err = w.speak(ctx); err != nil {
		return err
	}
	if !w.Claimed.IsZero() {
		// One of the future was made by a node whose clock is ahead.
		if time.Since(w.Claimed).Abs() < rollbackAge && !immediate {
			return nil
		}
		err := w.settle(ctx, s, client)
		if err == nil {
			b.Logger().Info("ended a request whose credential was not handed over", "agent", w.Agent, "grant", w.Grant)
		}
		return err
	}
	g, err := client.Grant(ctx, w.Grant)
	if err != nil && !errors.Is(err, valetkey.ErrGrantNotFound) {
		return err
	}
	if err == nil && !over(g.State()) && !w.orphaned(g.State()) {
		return nil
	}
	return w.settle(ctx, s, client)
}

// giveUp forgets a request that could not be looked after for long enough; the
// broker ended its grant by itself.
func (b *backend) giveUp(ctx context.Context, s logical.Storage, key string, cause error) {
	w, err := loadWaiting(ctx, s, key)
	if err != nil || w == nil || time.Since(w.DecideBy) < forgetAfter {
		return
	}
	b.Logger().Error("could not look after a request for a day after its end, so its task may be open still, with nothing in it",
		"agent", w.Agent, "grant", w.Grant, "task", w.Task, "error", errors.Join(cause, w.remove(ctx, s)))
}
