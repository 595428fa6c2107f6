package server

import (
	"context"
	"sync"

	"google.golang.org/grpc/stats"
)

// connection is the context that those of a connection's calls are made from. gRPC
// does not end the context of a call that the tap refuses: it stays, with its timer, until
// the deadline that the caller has chosen, be that in years. So a connection takes each
// call's end when gRPC makes its context (context.AfterFunc says how a context is
// asked for that), and the tap calls it.
type connection struct {
	context.Context //nolint:containedctx // it is one
	never           chan struct{}

	mu   sync.Mutex
	last *func() // ends the call whose headers came last, unless it is over; guarded by mu
	over bool    // while last runs, which asks why; guarded by mu
}

type connectionKey struct{}

// Done implements context.Context. It is never closed, and there so that AfterFunc is
// called.
func (c *connection) Done() <-chan struct{} { return c.never }

// Err implements context.Context.
func (c *connection) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (c *connection) Value(key any) any {
	if key == (connectionKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// AfterFunc is given what ends a call.
func (c *connection) AfterFunc(end func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	this := &end
	c.last = this
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.last == this { // it is over, and nothing is to be kept of it
			c.last = nil
		}
		return true
	}
}

// endCall ends the call whose headers came last on the connection of ctx: within the
// tap, the one that it looks at.
func endCall(ctx context.Context) {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	end := c.last
	c.last, c.over = nil, true
	c.mu.Unlock()
	if end != nil {
		(*end)()
	}
	c.mu.Lock()
	c.over = false
	c.mu.Unlock()
}

// connections makes each connection's. It has to be the last stats.Handler of a server:
// contexts are asked for AfterFunc by their children alone.
type connections struct{}

// TagConn implements stats.Handler.
func (connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return &connection{Context: ctx, never: make(chan struct{})}
}

// HandleConn implements stats.Handler.
func (connections) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC implements stats.Handler.
func (connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (connections) HandleRPC(context.Context, stats.RPCStats) {}
