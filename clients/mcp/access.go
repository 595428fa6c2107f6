package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// The states of access, as agents see them.
const (
	stateReady    = "ready"
	stateWaiting  = "waiting"        // people have to approve, and the request is theirs to decide
	stateApproval = "needs_approval" // people would have to approve, and there are too few who could
	stateEnded    = "ended"
)

// maxWait is the longest that a look waits. Clients of the protocol give up on a
// call after a minute or two.
const maxWait = 60

// RequestAccessIn asks for access, or asks again.
type RequestAccessIn struct {
	Task       string     `json:"task,omitempty" jsonschema:"the task's handle"`
	Scope      string     `json:"scope,omitempty" jsonschema:"the scope's name"`
	Parameters Parameters `json:"parameters,omitempty" jsonschema:"the scope's parameters by name"`
	Purpose    string     `json:"purpose,omitempty" jsonschema:"what this access is for, for the people who read the record; nothing decides on it"`
	TTL        int64      `json:"ttl_seconds,omitempty" jsonschema:"the life wished for; the scope's default when not given"`
	Profile    string     `json:"profile,omitempty" jsonschema:"what the profile is to be called after valetkey-: a-z, 0-9 and -; made up when not given"`
	Again      string     `json:"again,omitempty" jsonschema:"the handle of access that needed approval: ask for the same again, in place of all other arguments"`
}

// AccessOut is access as it stands.
type AccessOut struct {
	Access   string `json:"access" jsonschema:"the handle, for this session only"`
	State    string `json:"state" jsonschema:"ready, waiting, needs_approval or ended"`
	Scope    string `json:"scope"`
	Tier     string `json:"tier"`
	GrantID  string `json:"grant_id,omitempty" jsonschema:"the broker's id, for people who look it up; not a handle"`
	DecideBy string `json:"decide_by,omitempty" jsonschema:"until when people have to approve"`
	// ExpiresAt is when the newest credential dies, or the grant.
	ExpiresAt   string            `json:"expires_at,omitempty" jsonschema:"when the credential dies"`
	SecondsLeft int64             `json:"seconds_left"`
	Profile     string            `json:"profile,omitempty" jsonschema:"the AWS profile"`
	ConfigFile  string            `json:"config_file,omitempty" jsonschema:"the AWS config file that the profile is in"`
	EnvFile     string            `json:"env_file,omitempty" jsonschema:"a script that sets and clears what tools in your shell need, for sh, bash and zsh: . FILE && command; no secret is in it"`
	Environment map[string]string `json:"environment" jsonschema:"what env_file sets, for other shells; no secret is in it"`
	Unset       []string          `json:"unset" jsonschema:"what env_file clears: variables by which tools would find other credentials in place of these"`
	Renewed     bool              `json:"renewed" jsonschema:"whether tools that ask later get the next credential; false: ask for access again when it expires"`
	Needs       []Need            `json:"needs" jsonschema:"who has to approve"`
	Where       string            `json:"where,omitempty" jsonschema:"where people look at the request"`
	Reasons     []string          `json:"reasons" jsonschema:"why it was decided so"`
	Ended       string            `json:"ended,omitempty" jsonschema:"why it ended: REJECTED (people said no), LAPSED (nobody decided in time) or GRANT_ENDED"`
	Next        string            `json:"next" jsonschema:"what to do"`
}

// access is something that was asked for. What is above mu never changes.
type access struct {
	handle  string
	task    *task
	scope   string
	params  valetkey.Params
	options []valetkey.RequestOption
	name    string // of its place

	// one lets one call at a time ask for it or look at it.
	one chan struct{}

	mu      sync.Mutex
	src     *valetkey.Source // locked by mu
	grantID string           // the newest seen; locked by mu
	place   *serve.Place     // nil until it is ready; locked by mu
	tier    valetkeyv1.Tier  // locked by mu
	needs   []Need           // locked by mu
	ended   string           // why there is no more of it, as last seen; empty for not so; locked by mu
	gone    bool             // taken down; locked by mu
	free    func()           // gives the name back; locked by mu
}

func (x *session) requestAccess(ctx context.Context, in RequestAccessIn) (out AccessOut, err error) {
	if in.Again != "" {
		return x.requestAgain(ctx, in)
	}
	if in.Task == "" || in.Scope == "" || strings.TrimSpace(in.Purpose) == "" {
		return out, refuse(ReasonInvalidArgument, "task, scope and purpose are required, or again alone")
	}
	params, err := in.Parameters.wire()
	if err != nil {
		return out, err
	}
	t, err := x.task(in.Task)
	if err != nil {
		return out, err
	}
	a := &access{handle: newHandle("access"), task: t, scope: in.Scope, params: params, one: make(chan struct{}, 1)}
	a.options = []valetkey.RequestOption{valetkey.WithJustification(in.Purpose), valetkey.WithTTL(seconds(in.TTL)),
		// A profile does not go on with a new grant that nobody has asked for: what ended
		// at the broker ends here, as soon as that is known.
		valetkey.WithOnEnded(func(*valetkey.Grant) { a.takeDown() }), valetkey.WithOnCredential(x.s.secrets.add)}
	done, err := x.ask()
	if err != nil {
		return out, err
	}
	defer done()
	name, free, err := x.s.names.take(in.Scope, in.Profile)
	if err != nil {
		return out, err
	}
	a.name = name
	if x.s.following.Add(1) <= maxFollowed {
		a.options = append(a.options, valetkey.WithWatch())
	}
	a.free = func() {
		free()
		x.s.following.Add(-1)
		x.s.secrets.drop(a.handle) // what it opened is gone
	}
	kept := false
	defer func() {
		if !kept {
			a.takeDown()
		}
	}()
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	out, err = x.obtain(ctx, a)
	if err != nil {
		return out, closing(err, a.release)
	}
	if err := x.keep(a); err != nil {
		return out, closing(err, a.release)
	}
	kept = true
	return out, nil
}

func (x *session) requestAgain(ctx context.Context, in RequestAccessIn) (out AccessOut, err error) {
	if in.Task != "" || in.Scope != "" || len(in.Parameters) > 0 || in.Purpose != "" || in.TTL != 0 || in.Profile != "" {
		return out, refuse(ReasonInvalidArgument, "again goes alone: the handle stands for what was asked for then")
	}
	a, err := x.access(in.Again)
	if err != nil {
		return out, err
	}
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	if src := a.source(); src != nil {
		settle(ctx, src, 0)
	}
	a.mu.Lock()
	gone, ended := a.gone, a.ended
	a.mu.Unlock()
	switch {
	case ended == reasonRejected:
		return out, refuse(reasonRejected, "people said no to this")
	case gone:
		return out, refuse(reasonEnded, "this access has ended")
	}
	if out, err = x.obtain(ctx, a); err == nil && ended == "" && out.Ended == reasonLapsed {
		return x.obtain(ctx, a) // that it lapsed is news here, and no reason not to ask again
	}
	return out, err
}

// settle has src see what people have decided, and waits for that up to wait. How
// it stands after is looked at, whatever it says.
func settle(ctx context.Context, src *valetkey.Source, wait time.Duration) {
	g := src.Status().Pending
	if g == nil {
		return
	}
	look := g.Refresh
	if wait > 0 {
		look = g.Wait
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	_ = look(ctx)
}

func (a *access) source() *valetkey.Source {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.src
}

// lock has one call at a time work on a.
func (a *access) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case a.one <- struct{}{}:
		return func() { <-a.one }, nil
	case <-ctx.Done():
		return nil, refuse(ReasonNotReady, "another call works on this access")
	}
}

// obtain asks the broker, and has what it gives delivered. A request that people
// have to approve is an answer and no error.
func (x *session) obtain(ctx context.Context, a *access) (out AccessOut, err error) {
	a.mu.Lock()
	src, ready, waited := a.src, a.place != nil, a.grantID != ""
	if src == nil {
		src = a.task.t.Source(a.scope, a.params, a.options...)
		a.src = src
	}
	a.mu.Unlock()
	_, err = src.Credential(ctx)
	if ready {
		return x.look(ctx, a)
	}
	if err != nil && src.Status().GrantID == "" { // nothing to go on with: to be asked for anew, and the source would not for a minute
		a.forget(src)
		err = closing(err, src.Release)
	}
	said, no := valetkey.RefusalOf(err)
	switch {
	case no && errors.Is(&said, valetkey.ErrNeedsApproval):
		return x.needApproval(ctx, a, said)
	case no && waited && (said.Is(valetkey.ErrRejected) || said.Is(valetkey.ErrLapsed)):
		return x.look(ctx, a) // an answer too
	case err != nil:
		return out, err
	}
	place, err := x.s.cfg.Shelf.Put(ctx, a.name, src)
	if err != nil {
		a.forget(src)
		return out, closing(fmt.Errorf("delivering scope %s: %w", a.scope, err), src.Release)
	}
	if place.Secret != "" {
		x.s.secrets.keep(a.handle, known{values: []string{place.Secret}})
	}
	if !a.deliver(place) {
		return out, closing(refuse(ReasonUnknownHandle, "the access was released meanwhile"), src.Release)
	}
	return x.look(ctx, a)
}

// deliver keeps the place, unless the access was taken down meanwhile.
func (a *access) deliver(p *serve.Place) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		_ = p.Close() // sockets and files of ours; the shelf's end takes what stays
		return false
	}
	a.place, a.needs = p, nil
	return true
}

// forget has the next request begin anew: a source remembers its refusals.
func (a *access) forget(src *valetkey.Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.src == src {
		a.src = nil
	}
}

func (x *session) needApproval(ctx context.Context, a *access, said valetkey.Error) (AccessOut, error) {
	// The tier tells the agent's user what is asked of people. Explain has it.
	explained, err := a.task.t.Explain(ctx, a.scope, a.params, a.options...)
	if err != nil {
		return AccessOut{}, err
	}
	a.mu.Lock()
	a.grantID, a.tier, a.needs = said.GrantID, explained.GetTier(), needsOf(said.Needs)
	if a.needs == nil {
		a.needs = wireNeeds(explained.GetNeeds())
	}
	a.mu.Unlock()
	return x.look(ctx, a)
}

// AccessStatusIn names an access.
type AccessStatusIn struct {
	Access string `json:"access" jsonschema:"the access handle"`
	Wait   int64  `json:"wait_seconds,omitempty" jsonschema:"wait up to so many seconds for people, 60 at most; 0 looks once"`
}

func (x *session) accessStatus(ctx context.Context, in AccessStatusIn) (out AccessOut, err error) {
	a, err := x.access(in.Access)
	if err != nil {
		return out, err
	}
	wait := time.Duration(min(max(in.Wait, 0), maxWait)) * time.Second
	ctx, cancel := x.during(ctx, askFor+wait)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	a.mu.Lock()
	src, ready, gone := a.src, a.place != nil, a.gone
	a.mu.Unlock()
	if src == nil || gone || ready && src.Status().Pending == nil {
		return x.look(ctx, a)
	}
	settle(ctx, src, wait)
	return x.obtain(ctx, a) // what people have approved is taken
}
