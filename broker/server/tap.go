package server

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/listen"
)

// The tap runs when the headers of a call are there, before anything is kept for it: a
// call that is refused here costs no stream, no goroutine and no message. It runs on
// the connection's own goroutine, so that a caller's refusals wait for each other.

// tally counts what is open, by caller and in all. It is safe for concurrent use.
type tally struct {
	mu   sync.Mutex
	all  int            // guarded by mu
	each map[string]int // guarded by mu
}

// take says whether there is room for one more of who, and counts it.
func (t *tally) take(who string, each, all int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= all || t.each[who] >= each {
		return false
	}
	if t.each == nil {
		t.each = map[string]int{}
	}
	t.all++
	t.each[who]++
	return true
}

func (t *tally) give(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.each[who]--; t.each[who] == 0 {
		delete(t.each, who)
	}
}

// unheardKey has the function that is called when a call's first message has come.
type unheardKey struct{}

// heard is told of the first message of a call.
func heard(ctx context.Context) {
	if done, ok := ctx.Value(unheardKey{}).(func()); ok {
		done()
	}
}

// await ends a call whose first message does not come within the limit. It calls free
// once: when that message has come, or when the call is over.
func await(ctx context.Context, limit time.Duration, free func()) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(limit, cancel)
	done := sync.OnceFunc(func() { timer.Stop(); free() })
	context.AfterFunc(ctx, done) // a call's context ends with it
	return context.WithValue(ctx, unheardKey{}, done)
}

// tap lets a call in, or leaves nothing of it.
func (e *edge) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	in, err := e.lookAt(ctx, info)
	if err != nil {
		endCall(ctx)
	}
	return in, err
}

// lookAt is step 1 for one call. Methods that there are none of pass: gRPC answers them
// without waiting for a message.
func (e *edge) lookAt(ctx context.Context, info *tap.Info) (context.Context, error) {
	method := info.FullMethodName
	if strings.HasPrefix(method, healthPrefix) {
		return e.tapHealth(ctx, info)
	}
	if _, ok := e.methods[method]; !ok {
		return ctx, nil
	}
	began := time.Now()
	ctx, c, err := e.enter(ctx, method)
	if err == nil {
		err = e.admit(ctx, c)
	}
	if err == nil {
		err = e.charge(c, method)
	}
	if err != nil {
		return ctx, e.refuse(ctx, c, method, began, err)
	}
	owner := e.ownerOf(c)
	if !e.unheard.take(owner, e.budget.UnheardEach, e.budget.Unheard) {
		return ctx, e.refuse(ctx, c, method, began, grant.ErrTooMuchOpen)
	}
	return await(ctx, e.budget.FirstMessage, func() { e.unheard.give(owner) }), nil
}

// letIn is what the tap found out of a call. One that it did not see goes no further.
func letIn(ctx context.Context) (entered, error) {
	c, ok := ctx.Value(enteredKey{}).(entered)
	if !ok {
		return c, grant.ErrNotAllowed
	}
	return c, nil
}

// admit holds a caller to its share of connections.
func (e *edge) admit(ctx context.Context, c entered) error {
	if p, ok := peer.FromContext(ctx); ok && !listen.Known(p.Addr, e.ownerOf(c)) {
		return grant.ErrTooMuchOpen
	}
	return nil
}

// ownerOf is whose connections and calls a caller's are: its delegate's, or those of all
// that share its limits. A new session is no new budget.
func (e *edge) ownerOf(c entered) string {
	if d := c.who.Delegate(); !d.IsZero() {
		return "delegate:" + d.String()
	}
	return e.cfg.Guard.Subject(c.who)
}

// tapHealth lets anybody ask, a few at once.
func (e *edge) tapHealth(ctx context.Context, info *tap.Info) (context.Context, error) {
	size := 0
	for name, values := range info.Header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	who := ""
	if p, ok := peer.FromContext(ctx); ok {
		who = listen.Peer(p.Addr)
	}
	if size > e.budget.HealthBytes {
		return ctx, status.Error(codes.ResourceExhausted, "the headers of a health check are too large")
	}
	return await(e.health.add(ctx, who, e.budget.HealthEach, e.budget.Health), e.budget.FirstMessage, func() {}), nil
}
