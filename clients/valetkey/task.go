package valetkey

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Params are a scope's parameters: one value each, or several for a list.
type Params map[string][]string

func (p Params) wire() map[string]*valetkeyv1.Value {
	out := make(map[string]*valetkeyv1.Value, len(p))
	for name, values := range p {
		out[name] = &valetkeyv1.Value{Values: values}
	}
	return out
}

// TaskSpec says what a task is.
type TaskSpec struct {
	// Purpose is why, for people. Nothing decides on it. Required.
	Purpose string
	// Environment is where, such as "staging". It is a claim: policies may ask more for
	// it, and allow nothing for it. Required.
	Environment string
	// OnBehalfOf is who asked for it; may be empty.
	OnBehalfOf string
}

// Task is what grants serve: closing it ends them all. It is safe for concurrent use.
type Task struct {
	c    *Client
	id   string
	spec TaskSpec

	mu      sync.Mutex
	closed  bool      // by this program; locked by mu
	sources []*Source // locked by mu
}

// OpenTask opens a task. Client.Close closes it, if Task.Close has not.
func (c *Client) OpenTask(ctx context.Context, spec TaskSpec) (*Task, error) {
	key := NewIdempotencyKey()
	resp, _, err := call(ctx, c, "opening a task", func(ctx context.Context) (*valetkeyv1.OpenTaskResponse, error) {
		return c.Agent.OpenTask(ctx, &valetkeyv1.OpenTaskRequest{
			IdempotencyKey: key, Purpose: spec.Purpose, Environment: spec.Environment, OnBehalfOf: spec.OnBehalfOf,
		})
	})
	if err != nil {
		return nil, err
	}
	t := &Task{c: c, id: resp.GetTask().GetId(), spec: spec}
	if !c.keep(t) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_, _ = c.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{TaskId: t.id}) // a courtesy; nothing was granted in it
		return nil, ErrClosed
	}
	return t, nil
}

// Task is a task of this agent that was opened elsewhere, such as by another
// process. Client.Close leaves it open. Nothing is asked: a wrong id is refused
// by the first call that uses it, with ErrTaskNotFound.
func (c *Client) Task(id string) *Task { return &Task{c: c, id: id} }

// ID is the broker's id for the task.
func (t *Task) ID() string { return t.id }

// Close closes the task, which ends its grants and revokes their credentials
// upstream where that can be done. After an error the task may be open still, and
// Close may be called again; after a success that does nothing.
func (t *Task) Close(ctx context.Context) error {
	t.mu.Lock()
	again, sources := t.closed, t.sources
	t.closed, t.sources = true, nil
	t.mu.Unlock()
	if again {
		return nil
	}
	for _, s := range sources {
		s.stop()
	}
	key := NewIdempotencyKey()
	_, _, err := call(ctx, t.c, "closing task "+t.id, func(ctx context.Context) (*valetkeyv1.CloseTaskResponse, error) {
		return t.c.Agent.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{TaskId: t.id, IdempotencyKey: key})
	})
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.closed = false
		return err
	}
	t.c.forget(t)
	return nil
}

func (t *Task) drop(s *Source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sources = slices.DeleteFunc(t.sources, func(have *Source) bool { return have == s })
}

// RequestOption changes what is asked for.
type RequestOption func(*request)

type request struct {
	scope, version, why string
	params              Params
	ttl                 time.Duration
	wait, watch, ends   bool
	pending, ended      func(*Grant)
	onCredential        func(Credential)
}

// WithTTL wishes for a life; the scope's default when not given.
func WithTTL(d time.Duration) RequestOption { return func(r *request) { r.ttl = d } }

// WithScopeVersion insists on a version, "sha256:...": ErrStaleScopeVersion where
// the scope has changed since.
func WithScopeVersion(v string) RequestOption { return func(r *request) { r.version = v } }

// WithJustification says why, for the record and for people. Nothing decides on it.
func WithJustification(why string) RequestOption { return func(r *request) { r.why = why } }

// WithWait has whatever asks wait for people where they have to approve, for as
// long as its context allows. Without it the answer is ErrNeedsApproval.
func WithWait() RequestOption { return func(r *request) { r.wait = true } }

// WithOnPending has tell called when people have to approve, with the grant that
// waits for them and before it is waited for: once for each grant. A Source calls it
// from the background. It is to return soon.
func WithOnPending(tell func(*Grant)) RequestOption {
	return func(r *request) { r.pending = tell }
}

// WithWatch has a Source follow its grant over a stream, so that it gives nothing
// that an operator has revoked, and asks for a new grant instead. The broker
// limits how many an agent may follow (64 as it comes); past that the source goes
// on without, and logs that.
func WithWatch() RequestOption { return func(r *request) { r.watch = true } }

// WithOnEnded has a Source end with a grant that was ended before its time, revoked or
// released, where it would ask for a new one: Credential then fails with
// ErrGrantEnded. With WithWatch it ends as soon as the broker says so, and otherwise
// when the next credential is got. tell is called once, with that grant and from the
// background; nil tells nobody. Release and a closed task tell nobody.
func WithOnEnded(tell func(*Grant)) RequestOption {
	return func(r *request) { r.ends, r.ended = true, tell }
}

// WithOnCredential has tell called with each credential that a Source gets, before
// anybody is given it, such as to know what is not to be printed. It is to return
// soon, and not to call the Source.
func WithOnCredential(tell func(Credential)) RequestOption {
	return func(r *request) { r.onCredential = tell }
}

func newRequest(scope string, params Params, opts []RequestOption) request {
	r := request{scope: scope, params: params}
	for _, o := range opts {
		o(&r)
	}
	return r
}

func (r request) lifetime() *durationpb.Duration {
	if r.ttl == 0 {
		return nil
	}
	return durationpb.New(r.ttl)
}

// Scopes lists what may be asked for, sorted by name.
func (c *Client) Scopes(ctx context.Context) ([]*valetkeyv1.Scope, error) {
	resp, _, err := call(ctx, c, "listing scopes", func(ctx context.Context) (*valetkeyv1.ListScopesResponse, error) {
		return c.Agent.ListScopes(ctx, &valetkeyv1.ListScopesRequest{})
	})
	return resp.GetScopes(), err
}

// Explain says what a request would give and need. It mints and records nothing.
// environment is the task's to suppose.
func (c *Client) Explain(ctx context.Context, environment, scope string, params Params, opts ...RequestOption) (*valetkeyv1.ExplainScopeResponse, error) {
	r := newRequest(scope, params, opts)
	resp, _, err := call(ctx, c, "explaining scope "+scope, func(ctx context.Context) (*valetkeyv1.ExplainScopeResponse, error) {
		return c.Agent.ExplainScope(ctx, &valetkeyv1.ExplainScopeRequest{
			Scope: scope, ScopeVersion: r.version, Parameters: params.wire(), Ttl: r.lifetime(), Environment: environment,
		})
	})
	return resp, err
}

// Explain is the client's Explain in this task's environment, where the task was
// opened by this program.
func (t *Task) Explain(ctx context.Context, scope string, params Params, opts ...RequestOption) (*valetkeyv1.ExplainScopeResponse, error) {
	return t.c.Explain(ctx, t.spec.Environment, scope, params, opts...)
}
