package valetkey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/clients/valetkey/internal/plain"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Grant is a request with its life. It is safe for concurrent use.
type Grant struct {
	c     *Client
	asked *asked // nil where another process asked, or before this one did

	mu   sync.Mutex
	info *valetkeyv1.Grant // as it was last seen; replaced, never changed; locked by mu
}

func (c *Client) grant(info *valetkeyv1.Grant) *Grant { return &Grant{c: c, info: info} }

// Grant looks up a grant of this agent, such as one that another process has
// asked for and that waits for people.
func (c *Client) Grant(ctx context.Context, id string) (*Grant, error) {
	g := c.grant(&valetkeyv1.Grant{Id: id})
	return g, g.Refresh(ctx)
}

// Request asks for a grant. One that waits for people is no error: its State is
// PENDING, and Wait waits; WithWait waits here. A refusal is an Error, and a grant of
// something else fails with ErrNotAsked. Where the wait
// fails or ctx ends it, the grant comes with the error: it goes on waiting, to Wait
// for again, also by its id and from elsewhere, or to Release.
func (t *Task) Request(ctx context.Context, scope string, params Params, opts ...RequestOption) (*Grant, error) {
	g, _, err := t.request(ctx, newRequest(scope, params, opts), false)
	return g, err
}

// RequestCredential asks for a grant and mints its first credential, in one call
// where nobody has to approve. Otherwise the answer is ErrNeedsApproval and the
// grant, to Wait for; or with WithWait it waits, as Request does.
func (t *Task) RequestCredential(ctx context.Context, scope string, params Params, opts ...RequestOption) (*Grant, Credential, error) {
	r := newRequest(scope, params, opts)
	g, cred, err := t.request(ctx, r, true)
	if err != nil || cred.Valid() {
		return g, cred, err
	}
	if err := g.ready(); err != nil {
		return g, Credential{}, err
	}
	cred, err = g.Mint(ctx)
	return g, cred, err
}

// request asks, and waits where that was asked for.
func (t *Task) request(ctx context.Context, r request, mint bool) (*Grant, Credential, error) {
	c, key := t.c, NewIdempotencyKey()
	var m minting
	resp, how, err := call(ctx, c, "requesting scope "+r.scope, func(ctx context.Context) (*valetkeyv1.RequestGrantResponse, error) {
		m.asked, m.floor = c.cfg.now(), c.history.size()
		return c.Agent.RequestGrant(ctx, &valetkeyv1.RequestGrantRequest{
			IdempotencyKey: key, TaskId: t.id, Scope: r.scope, ScopeVersion: r.version, Parameters: r.params.wire(),
			Ttl: r.lifetime(), Justification: r.why, Mint: mint,
		})
	})
	if refused, ok := RefusalOf(err); ok && how.again && mint && errors.Is(&refused, ErrAlreadyIssued) && refused.GrantID != "" && plain.Text("grant id", refused.GrantID) == nil {
		// The answer with the first credential was lost. The grant was not.
		g := c.grant(&valetkeyv1.Grant{Id: refused.GrantID})
		g.asked = &asked{r, t.id}
		return g, Credential{}, g.Refresh(ctx)
	}
	if err != nil {
		return nil, Credential{}, err
	}
	if err := plain.Text("grant id", resp.GetGrant().GetId()); err != nil {
		return nil, Credential{}, fmt.Errorf("requesting scope %s: %w", r.scope, err)
	}
	g := c.grant(resp.GetGrant())
	g.asked = &asked{r, t.id}
	if err := g.see(resp.GetGrant()); err != nil {
		return nil, Credential{}, fmt.Errorf("requesting scope %s: %w", r.scope, err)
	}
	if r.pending != nil && g.pending() {
		r.pending(g)
	}
	if r.wait {
		if err := g.Wait(ctx); err != nil {
			return g, Credential{}, err
		}
	}
	if resp.GetCredential() == nil {
		return g, Credential{}, nil
	}
	m.grant, m.credential, m.receipt = resp.GetGrant(), resp.GetCredential(), resp.GetReceipt()
	cred, err := c.accept(ctx, m)
	return g, cred, err
}

// Info is the grant as it was last seen. Do not change it.
func (g *Grant) Info() *valetkeyv1.Grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.info
}

// see takes what the broker says of the grant, where it is of this one and of what was
// asked for.
func (g *Grant) see(info *valetkeyv1.Grant) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id := g.info.GetId(); info.GetId() != id {
		return fmt.Errorf("%w: another grant for %s", ErrNotAsked, id)
	}
	if g.asked != nil {
		if err := g.asked.met(info); err != nil {
			return err
		}
	}
	g.info = info
	return nil
}

// ID is the broker's id for the grant.
func (g *Grant) ID() string { return g.Info().GetId() }

// State is where in its life the grant was when it was last seen.
func (g *Grant) State() valetkeyv1.GrantState { return g.Info().GetState() }

// ExpiresAt is when every credential of it is dead, by the broker's clock; zero
// while it waits for people, whose yes begins its life.
func (g *Grant) ExpiresAt() time.Time { return timeOf(g.Info().GetExpiresAt()) }

// DecideBy is when it lapses unless people have approved it, by the broker's clock;
// zero where it waits for nobody.
func (g *Grant) DecideBy() time.Time { return timeOf(g.Info().GetDecideBy()) }

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// Needs are the people whom it waits for, by group; nil where it waits for nobody.
func (g *Grant) Needs() []Need {
	if !g.pending() {
		return nil
	}
	return needsOf(g.Info().GetNeeds())
}

func (g *Grant) pending() bool { return g.State() == valetkeyv1.GrantState_GRANT_STATE_PENDING }

// ready says whether the grant can be minted from, as it was last seen: nil, or
// why not.
func (g *Grant) ready() error {
	info := g.Info()
	switch info.GetState() {
	case valetkeyv1.GrantState_GRANT_STATE_CLEARED, valetkeyv1.GrantState_GRANT_STATE_ACTIVE:
		return nil
	case valetkeyv1.GrantState_GRANT_STATE_PENDING:
		err := refusal(valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL, info.GetId(), "")
		err.Details, err.Needs = map[string]string{"grant_id": info.GetId()}, needsOf(info.GetNeeds())
		return err
	case valetkeyv1.GrantState_GRANT_STATE_REJECTED:
		return refusal(valetkeyv1.ErrorReason_ERROR_REASON_REJECTED, info.GetId(), "")
	case valetkeyv1.GrantState_GRANT_STATE_LAPSED:
		return refusal(valetkeyv1.ErrorReason_ERROR_REASON_LAPSED, info.GetId(), "")
	case valetkeyv1.GrantState_GRANT_STATE_DENIED:
		return refusal(valetkeyv1.ErrorReason_ERROR_REASON_DENIED, info.GetId(), strings.Join(info.GetReasons(), "; "))
	default:
		return refusal(valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED, info.GetId(),
			fmt.Sprintf("the grant was %s; ask for another", info.GetState().Word()))
	}
}

// Wait waits until the grant can be minted from, for as long as ctx allows and
// through whatever outages the broker has. It fails with ErrDenied where people or
// policy said no, and with ErrGrantEnded where the grant has ended; ErrRejected and
// ErrLapsed say that it was people's no, or their silence.
func (g *Grant) Wait(ctx context.Context) error {
	if err := g.ready(); !errors.Is(err, ErrNeedsApproval) {
		return err
	}
	for info, err := range g.Watch(ctx) {
		if err != nil {
			return err
		}
		if info.GetState() != valetkeyv1.GrantState_GRANT_STATE_PENDING {
			break
		}
	}
	return g.ready()
}

// Refresh looks at the grant once.
func (g *Grant) Refresh(ctx context.Context) error {
	resp, _, err := call(ctx, g.c, "looking at grant "+g.ID(), func(ctx context.Context) (*valetkeyv1.GetGrantResponse, error) {
		return g.c.Agent.GetGrant(ctx, &valetkeyv1.GetGrantRequest{GrantId: g.ID()})
	})
	if err != nil {
		return err
	}
	return g.see(resp.GetGrant())
}

// Mint mints a credential. A grant may be minted from as often as the broker's
// limits allow; no credential of it lives longer than the grant.
//
// An answer that was lost on its way is a credential lost: it cannot be sent
// again, dies with the grant, and another is minted in its place.
func (g *Grant) Mint(ctx context.Context) (Credential, error) {
	for n := 1; ; n++ {
		cred, lost, err := g.mint(ctx)
		if !lost || n == maxLost {
			return cred, err
		}
	}
}

// maxLost is how many credentials one Mint may lose.
const maxLost = 3

func (g *Grant) mint(ctx context.Context) (_ Credential, lost bool, err error) {
	c, key, id := g.c, NewIdempotencyKey(), g.ID()
	var m minting
	resp, how, err := call(ctx, c, "minting from grant "+id, func(ctx context.Context) (*valetkeyv1.MintCredentialResponse, error) {
		m.asked, m.floor = c.cfg.now(), c.history.size()
		return c.Agent.MintCredential(ctx, &valetkeyv1.MintCredentialRequest{IdempotencyKey: key, GrantId: id})
	})
	if err != nil {
		return Credential{}, how.again && errors.Is(err, ErrAlreadyIssued), err
	}
	m.grant, m.credential, m.receipt = g.Info(), resp.GetCredential(), resp.GetReceipt()
	cred, err := c.accept(ctx, m)
	if err != nil {
		return Credential{}, false, err
	}
	if m.grant.GetState() == valetkeyv1.GrantState_GRANT_STATE_CLEARED {
		active, ok := proto.Clone(m.grant).(*valetkeyv1.Grant)
		if ok {
			active.State = valetkeyv1.GrantState_GRANT_STATE_ACTIVE
			return cred, false, g.see(active)
		}
	}
	return cred, false, nil
}

// Release gives the grant back. Its credentials are revoked upstream where that
// can be done, and die at their deadline otherwise. A second Release is no error.
func (g *Grant) Release(ctx context.Context) error {
	key, id := NewIdempotencyKey(), g.ID()
	resp, _, err := call(ctx, g.c, "releasing grant "+id, func(ctx context.Context) (*valetkeyv1.ReleaseGrantResponse, error) {
		return g.c.Agent.ReleaseGrant(ctx, &valetkeyv1.ReleaseGrantRequest{GrantId: id, IdempotencyKey: key})
	})
	if err != nil {
		return err
	}
	return g.see(resp.GetGrant())
}

const (
	// watchFor is how long one stream is believed in: a connection that was lost
	// without a word would otherwise be waited on for ever.
	watchFor      = 2 * time.Minute
	maxWatchPause = 5 * time.Second
)

// Watch yields the grant's state now and whenever it changes, until it has ended,
// and opens its stream again when that breaks. An error is the last thing that it
// yields; a lost connection is none.
func (g *Grant) Watch(ctx context.Context) iter.Seq2[*valetkeyv1.Grant, error] {
	return func(yield func(*valetkeyv1.Grant, error) bool) {
		var last valetkeyv1.GrantState
		for failed := 0; ; failed++ {
			began := time.Now()
			changed, done, err := g.watchOnce(ctx, &last, func(info *valetkeyv1.Grant) bool { return yield(info, nil) })
			if done {
				return
			}
			// A broker that says the same at once and hangs up is not asked again at once.
			if changed || time.Since(began) > maxWatchPause {
				failed = 0
			}
			if err = g.c.final(ctx, err); !errors.Is(err, errTransient) && !errors.Is(err, ErrSVIDExpired) {
				yield(nil, fmt.Errorf("watching grant %s: %w", g.ID(), err))
				return
			}
			if cut := g.c.sleep(ctx, pause(failed, maxWatchPause)); cut != nil {
				yield(nil, fmt.Errorf("watching grant %s: %w: %w", g.ID(), cut, err))
				return
			}
		}
	}
}

// errHungUp is a stream that the broker ended before the grant has ended.
var errHungUp = status.Error(codes.Unavailable, "the broker ended the stream before the grant's end")

// watchOnce follows one stream. changed says that it has shown a state, done that there is no more to see, or nobody
// who wants to.
func (g *Grant) watchOnce(ctx context.Context, last *valetkeyv1.GrantState, show func(*valetkeyv1.Grant) bool) (changed, done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor)
	defer cancel()
	stream, err := g.c.Agent.WatchGrant(ctx, &valetkeyv1.WatchGrantRequest{GrantId: g.ID()})
	if err != nil {
		return false, false, err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		if err != nil {
			return changed, ended(*last), err
		}
		info := resp.GetGrant()
		if err := g.see(info); err != nil {
			return changed, false, err
		}
		if info.GetState() == *last {
			continue
		}
		changed, *last = true, info.GetState()
		if !show(info) || ended(*last) {
			return changed, true, nil
		}
	}
}

func ended(s valetkeyv1.GrantState) bool {
	switch s {
	case valetkeyv1.GrantState_GRANT_STATE_EXPIRED, valetkeyv1.GrantState_GRANT_STATE_RELEASED,
		valetkeyv1.GrantState_GRANT_STATE_REVOKED, valetkeyv1.GrantState_GRANT_STATE_DENIED,
		valetkeyv1.GrantState_GRANT_STATE_REJECTED, valetkeyv1.GrantState_GRANT_STATE_LAPSED:
		return true
	default:
		return false
	}
}
