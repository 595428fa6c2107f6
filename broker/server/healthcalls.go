package server

import (
	"context"
	"slices"
	"sync"
)

// healthCalls are the open calls to grpc.health.v1, which asks nobody who they are: where
// there are too many, the oldest ends. A check is answered in a moment, so that who holds
// calls open, and has the address of a proxy that checks health itself, keeps nobody from
// an answer. It is safe for concurrent use.
type healthCalls struct {
	mu   sync.Mutex
	open []*healthCall // the oldest first; guarded by mu
}

type healthCall struct {
	peer string
	end  context.CancelFunc
}

// add makes room for one more of a peer's, and counts it until ctx is over.
func (h *healthCalls) add(ctx context.Context, peer string, each, all int) context.Context {
	ctx, end := context.WithCancel(ctx)
	c := &healthCall{peer, end}
	if oldest := h.enter(c, each, all); oldest != nil {
		oldest.end()
	}
	context.AfterFunc(ctx, func() { h.leave(c) })
	return ctx
}

// enter gives the call that has to end for c.
func (h *healthCalls) enter(c *healthCall, each, all int) (oldest *healthCall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ofPeer, first := 0, -1
	for i, other := range h.open {
		if other.peer == c.peer {
			if ofPeer++; first < 0 {
				first = i
			}
		}
	}
	switch {
	case ofPeer >= each && first >= 0:
		oldest = h.open[first]
		h.open = slices.Delete(h.open, first, first+1)
	case len(h.open) >= all && len(h.open) > 0:
		oldest = h.open[0]
		h.open = slices.Delete(h.open, 0, 1)
	}
	h.open = append(h.open, c)
	return oldest
}

func (h *healthCalls) leave(c *healthCall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := slices.Index(h.open, c); at >= 0 {
		h.open = slices.Delete(h.open, at, at+1)
	}
}
