package valetkey_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// otherwise are answers to something else than a request.
var otherwise = map[string]func(*valetkeyv1.Grant){
	"another scope":       func(g *valetkeyv1.Grant) { g.Scope = "s3-prefix-write" },
	"another task":        func(g *valetkeyv1.Grant) { g.TaskId += "a" },
	"another bucket":      func(g *valetkeyv1.Grant) { g.Parameters["bucket"] = values("other") },
	"a wider prefix":      func(g *valetkeyv1.Grant) { g.Parameters["prefix"] = values("rep/") },
	"one more prefix":     func(g *valetkeyv1.Grant) { g.Parameters["prefix"] = values("reports/", "salaries/") },
	"no prefix":           func(g *valetkeyv1.Grant) { g.Parameters["prefix"] = values() },
	"a parameter less":    func(g *valetkeyv1.Grant) { delete(g.Parameters, "prefix") },
	"a parameter more":    func(g *valetkeyv1.Grant) { g.Parameters["account"] = values("000000000000") },
	"no parameter at all": func(g *valetkeyv1.Grant) { g.Parameters = nil },
}

func values(v ...string) *valetkeyv1.Value { return &valetkeyv1.Value{Values: v} }

// TestGrantOfSomethingElse has a broker grant it.
func TestGrantOfSomethingElse(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between)))
	for name, change := range otherwise {
		t.Run(name, func(t *testing.T) {
			between.set(func(m *meddler) {
				m.after = func(_ string, reply proto.Message) error {
					if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
						change(r.GetGrant())
					}
					return nil
				}
			})
			g, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
			if !errors.Is(err, valetkey.ErrNotAsked) || cred.Valid() || g != nil {
				t.Errorf("a credential: %v, error: %v", cred.Valid(), err)
			}
			if _, err := task.Source("s3-prefix-read", params).Credential(t.Context()); !errors.Is(err, valetkey.ErrNotAsked) {
				t.Errorf("a source: %v", err)
			}
		})
	}
	between.set(func(m *meddler) { m.after = nil })
	// Canonical is not something else.
	for _, prefix := range []string{"reports/", "reports"} {
		_, _, err := task.RequestCredential(t.Context(), "s3-prefix-read", valetkey.Params{"bucket": {"prod"}, "prefix": {prefix}})
		must(t, err)
	}
}

// TestGrantThatTurnsIntoAnother has people approve one thing, and the broker show
// another from then on.
func TestGrantThatTurnsIntoAnother(t *testing.T) {
	for name, change := range otherwise {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			a := &turncoat{change: change}
			c := dial(t, h, valetkey.WithAddr(serveAgents(t, h.Authority, a)), valetkey.WithoutReceiptChecks())
			_, cred, err := open(t, c).RequestCredential(t.Context(), "s3-prefix-read", params, valetkey.WithWait())
			if !errors.Is(err, valetkey.ErrNotAsked) || cred.Valid() {
				t.Errorf("a credential: %v, error: %v", cred.Valid(), err)
			}
		})
	}
}

// turncoat is an edge whose grants are of something else once they are approved.
type turncoat struct {
	approvals
	change func(*valetkeyv1.Grant)
	first  *valetkeyv1.Grant
}

func (a *turncoat) RequestGrant(_ context.Context, r *valetkeyv1.RequestGrantRequest) (*valetkeyv1.RequestGrantResponse, error) {
	a.first = &valetkeyv1.Grant{
		Id: "grant_x", TaskId: r.GetTaskId(), Scope: r.GetScope(), Parameters: r.GetParameters(), State: valetkeyv1.GrantState_GRANT_STATE_PENDING,
	}
	return &valetkeyv1.RequestGrantResponse{Grant: a.first}, nil
}

func (a *turncoat) WatchGrant(_ *valetkeyv1.WatchGrantRequest, stream grpc.ServerStreamingServer[valetkeyv1.WatchGrantResponse]) error {
	g, ok := proto.Clone(a.first).(*valetkeyv1.Grant)
	if !ok {
		return errLost
	}
	g.State = valetkeyv1.GrantState_GRANT_STATE_CLEARED
	a.change(g)
	return stream.Send(&valetkeyv1.WatchGrantResponse{Grant: g})
}
