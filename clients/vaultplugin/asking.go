package vaultplugin

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
)

// What may come to wait for people is asked for in turn: from looking for the same that waits
// already to the writing down of what came, so that of those who ask for the same at once one
// asks people, and the others are answered with its request. What was given without people the
// last time is asked for at once: where people have come to be needed since, it is taken back, and
// asked for again in turn.

// errPeople is why a request is taken back to be made in turn.
var errPeople = errors.New("people have come to be needed")

// direct is what was given without people, by agent and all that was asked for. It is safe for
// concurrent use.
type direct struct {
	mu    sync.Mutex
	known map[string]bool // locked by mu
}

// directMost bounds what is known: a key has 138 bytes, so that it is less than 1 MiB.
const directMost = 4096

func (d *direct) has(same string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[same]
}

func (d *direct) add(same string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= directMost {
		d.known = nil // what is asked for again is known again
	}
	if d.known == nil {
		d.known = map[string]bool{}
	}
	d.known[same] = true
}

func (d *direct) forget(same string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, same)
}

// askingIn is held in a task of the caller's. There the broker says what is the
// same, whatever was said to people, and gives the grant that waits for it already.
func (b *backend) askingIn(agent, task, scope string) *locksutil.LockEntry {
	return locksutil.LockForKey(b.asking, agentFolder(agent)+task+"/"+scope)
}

// turn waits for the caller's turn, unless what it asks for is direct, before or by then: who waits
// behind the first goes with the others once that was given. The turn ends with done.
func (b *backend) turn(ctx context.Context, l sync.Locker, same string) (direct bool, done func(), err error) {
	if b.direct.has(same) {
		return true, func() {}, nil
	}
	if err := hold(ctx, l); err != nil {
		return false, nil, err
	}
	if b.direct.has(same) {
		l.Unlock()
		return true, func() {}, nil
	}
	return false, l.Unlock, nil
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
