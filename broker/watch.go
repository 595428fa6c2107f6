package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/store"
)

// ErrTooManyWatches means that the agent watches as many grants at once as it may.
var ErrTooManyWatches = fmt.Errorf("too many watches: %w", guard.ErrRateLimited)

// defaultWatches is how many grants one agent may watch at once, over all of its
// sessions and connections, where the config does not say.
const defaultWatches = 64

// watches are the streams that follow grants.
type watches struct {
	mu     sync.Mutex
	topics map[string]*topic // by grant id; guarded by mu
	open   map[string]int    // by the guard's key; guarded by mu
}

// topic is one grant that somebody watches.
type topic struct {
	changed  chan struct{} // closed and replaced when the grant changes
	watchers int
}

// enter counts one more stream of key's on a grant. leave ends it.
func (w *watches) enter(key, grant string, most int) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[key] >= most {
		return nil, ErrTooManyWatches
	}
	if w.topics == nil {
		w.topics, w.open = map[string]*topic{}, map[string]int{}
	}
	t := w.topics[grant]
	if t == nil {
		t = &topic{changed: make(chan struct{})}
		w.topics[grant] = t
	}
	t.watchers++
	w.open[key]++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if t.watchers--; t.watchers == 0 {
			delete(w.topics, grant)
		}
		if w.open[key]--; w.open[key] == 0 {
			delete(w.open, key)
		}
	}), nil
}

// next is closed at the grant's next change. Its caller has entered.
func (w *watches) next(grant string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.topics[grant].changed
}

// announce wakes those who watch these grants, and nobody else.
func (w *watches) announce(grants ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range grants {
		if t := w.topics[id]; t != nil {
			close(t.changed)
			t.changed = make(chan struct{})
		}
	}
}

// Watch sends the agent's grant to send whenever it changes, until it has
// ended, the caller's SVID has expired, or ctx is done.
func (b *Broker) Watch(ctx context.Context, who Caller, id string, alive func() error, send func(store.Grant) error) error {
	leave, err := b.watches.enter(b.cfg.Guard.Key(who.Agent), id, b.cfg.Watches)
	if err != nil {
		return err
	}
	defer leave()
	var last store.GrantState
	poll := time.NewTicker(tick) // another replica's changes are not announced here, and SVIDs expire in silence
	defer poll.Stop()
	for {
		changed := b.watches.next(id)
		if err := alive(); err != nil {
			return err
		}
		g, err := b.Grant(ctx, who.id(), id)
		if err != nil {
			return err
		}
		if g.State != last {
			if err := send(g); err != nil {
				return err
			}
			last = g.State
		}
		if !g.State.Open() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-poll.C:
		}
	}
}
