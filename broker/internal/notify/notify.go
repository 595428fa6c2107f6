// Package notify wakes those who wait for a grant to change: the streams that follow it.
//
// It decides nothing, and a word of it is no evidence: who is woken looks at the store.
package notify

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/store"
)

// defaultWatches is how many grants one agent may watch at once, over all of its
// sessions and connections, where the config does not say.
const defaultWatches = 64

// poll is how often a stream looks though nobody woke it: another replica's changes are
// not announced here, and SVIDs expire in silence.
const poll = time.Second

// Hub holds the streams that follow grants. It is safe for concurrent use.
type Hub struct {
	store grant.Viewer
	key   func(identity.Agent) string
	most  int

	mu     sync.Mutex
	topics map[string]*topic // by grant id; guarded by mu
	open   map[string]int    // by the guard's key; guarded by mu
}

// topic is one grant that somebody watches.
type topic struct {
	changed  chan struct{} // closed and replaced when the grant changes
	watchers int
}

// New returns a Hub that lets an agent, by key, follow most grants at once; 64 when zero.
func New(store grant.Viewer, key func(identity.Agent) string, most int) *Hub {
	return &Hub{store: store, key: key, most: cmp.Or(most, defaultWatches), topics: map[string]*topic{}, open: map[string]int{}}
}

// enter counts one more stream of key's on a grant. leave ends it.
func (h *Hub) enter(key, id string) (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open[key] >= h.most {
		return nil, grant.ErrTooManyWatches
	}
	t := h.topics[id]
	if t == nil {
		t = &topic{changed: make(chan struct{})}
		h.topics[id] = t
	}
	t.watchers++
	h.open[key]++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if t.watchers--; t.watchers == 0 {
			delete(h.topics, id)
		}
		if h.open[key]--; h.open[key] == 0 {
			delete(h.open, key)
		}
	}), nil
}

// next is closed at the grant's next change. Its caller has entered.
func (h *Hub) next(grant string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.topics[grant].changed
}

// Announce wakes those who watch these grants, and nobody else.
func (h *Hub) Announce(grants ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range grants {
		if t := h.topics[id]; t != nil {
			close(t.changed)
			t.changed = make(chan struct{})
		}
	}
}

// Watch sends the agent's grant to send whenever it changes, until it has
// ended, the caller's SVID has expired, or ctx is done.
func (h *Hub) Watch(ctx context.Context, who grant.Caller, id string, alive func() error, send func(store.Grant) error) error {
	if err := who.Check(); err != nil {
		return err
	}
	leave, err := h.enter(h.key(who.Agent()), id)
	if err != nil {
		return err
	}
	defer leave()
	var last store.GrantState
	every := time.NewTicker(poll)
	defer every.Stop()
	for {
		changed := h.next(id)
		if err := alive(); err != nil {
			return err
		}
		g, err := grant.Own(ctx, h.store, who, id)
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
		case <-every.C:
		}
	}
}
