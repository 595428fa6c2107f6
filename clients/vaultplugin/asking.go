package vaultplugin

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
)

// askingAlone is held from looking for the same that waits to the writing down of
// what came, so that of those who ask for the same at once one asks people, and the
// others are answered with its request.
func (b *backend) askingAlone(agent, digest string) *locksutil.LockEntry {
	return locksutil.LockForKey(b.asking, agentFolder(agent)+digest)
}

// askingIn is the same in a task of the caller's. There the broker says what is the
// same, whatever was said to people, and gives the grant that waits for it already.
// So all who ask for a scope in a task take turns, but not with their mintings.
func (b *backend) askingIn(agent, task, scope string) *locksutil.LockEntry {
	return locksutil.LockForKey(b.asking, agentFolder(agent)+task+"/"+scope)
}

// hold locks l, unless ctx is done first. ctx must end.
func hold(ctx context.Context, l sync.Locker) error {
	held := make(chan struct{})
	go func() {
		l.Lock()
		select {
		case held <- struct{}{}:
		case <-ctx.Done():
			l.Unlock()
		}
	}()
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another who asks for the same: %w", context.Cause(ctx))
	}
}
