package policy

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/scopes"
)

// agent authenticates a real SVID: there is no other way to an Agent.
func agent(t testing.TB, id string, cfg identity.Config) identity.Agent {
	t.Helper()
	authority, err := devauthority.New(devauthority.Config{TrustDomain: "example.org", Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	svid, err := authority.X509SVID(spiffeid.RequireFromString(id), noon.Add(-time.Minute), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cfg.TrustDomains, cfg.Now = []string{"example.org"}, func() time.Time { return noon }
	auth, err := identity.New(cfg, authority.X509Bundle(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.AuthenticateX509(svid.Certificates)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func exampleEngine(t testing.TB) (*Engine, *scopes.Catalog) {
	t.Helper()
	cat, err := scopes.Load(exampleCatalog)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Dir: exampleCatalog, Catalog: cat, AgentPaths: []string{"/agent/{user}/{session}"}})
	if err != nil {
		t.Fatal(err)
	}
	return e, cat
}

func resolve(t testing.TB, cat *scopes.Catalog, q scopes.Query) scopes.Request {
	t.Helper()
	rs, err := cat.ResolveAll(q) // policies look at nothing that tells one enforcer from another
	if err != nil {
		t.Fatal(err)
	}
	return rs[0]
}

func rebuild(t testing.TB, cat *scopes.Catalog) scopes.Request {
	return resolve(t, cat, scopes.Query{Scope: "s3-bucket-rebuild", Params: map[string][]string{"bucket": {"prod-data"}}})
}

func TestDecide(t *testing.T) {
	e, cat := exampleEngine(t)
	in := Input{
		Agent:   agent(t, "spiffe://example.org/agent/ana/s1", identity.Config{PathTemplate: "/agent/{user}/{session}"}),
		Request: rebuild(t, cat), Task: Task{ID: "task_1", Environment: "production"}, Now: noon,
	}
	d, err := e.Decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Valid() || d.Outcome() != NeedsApproval || !reflect.DeepEqual(d.Needs(), need("sre", 2)) || d.TTL() != 5*time.Minute {
		t.Errorf("got %+v", d.Verdict())
	}
	if d.Agent().ID() != in.Agent.ID() || d.Request().Scope() != in.Request.Scope() || d.Task() != in.Task || !d.At().Equal(noon) {
		t.Error("the decision is about something else")
	}
	// What a caller does with the answer's parts, or with its own map, does not reach the decision.
	in.Approvals = map[string]int{"sre": 2}
	if d, err = e.Decide(t.Context(), in); err != nil || d.Outcome() != Allow {
		t.Fatalf("with two of sre: %+v, %v", d.Verdict(), err)
	}
	in.Approvals["sre"], d.PolicyIDs()[0], d.Reasons()[0], d.Approvals()["sre"], d.Verdict().PolicyIDs[0] = 9, "x", "x", 9, "x"
	if d.Approvals()["sre"] != 2 || d.PolicyIDs()[0] != "storage.rebuild" || !strings.HasPrefix(d.Reasons()[0], "storage.rebuild: ") {
		t.Error("the decision changed")
	}
}

func TestTheZeroDecisionIsNone(t *testing.T) {
	var d Decision
	if d.Valid() || d.Outcome() != 0 || d.Outcome().String() != "none" || d.TTL() != 0 || d.Agent().Valid() || d.Request().Valid() {
		t.Error("the zero Decision says something")
	}
}

func TestDecideTakesOnlyEvidence(t *testing.T) {
	e, cat := exampleEngine(t)
	good := Input{
		Agent:   agent(t, "spiffe://example.org/agent/ana/s1", identity.Config{PathTemplate: "/agent/{user}/{session}"}),
		Request: rebuild(t, cat), Now: noon,
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := map[string]func(*Input) context.Context{
		"zero agent":   func(in *Input) context.Context { in.Agent = identity.Agent{}; return t.Context() },
		"zero request": func(in *Input) context.Context { in.Request = scopes.Request{}; return t.Context() },
		"zero time":    func(in *Input) context.Context { in.Now = time.Time{}; return t.Context() },
		"longer ttl":   func(in *Input) context.Context { in.TTL = time.Hour; return t.Context() },
		"cancelled":    func(*Input) context.Context { return cancelled },
		"no attributes": func(in *Input) context.Context {
			in.Agent = agent(t, "spiffe://example.org/ci/deployer", identity.Config{PathTemplates: []string{"/ci/deployer"}})
			return t.Context()
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			in := good
			ctx := change(&in)
			if d, err := e.Decide(ctx, in); !errors.Is(err, ErrPolicy) || d.Valid() {
				t.Errorf("got %+v, %v", d.Verdict(), err)
			}
		})
	}
}

func TestPathsHaveToBeTheBrokersOwn(t *testing.T) {
	cat, err := scopes.Load(exampleCatalog)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: exampleCatalog, Catalog: cat, AgentPaths: []string{"/agent/{name}"}}); !errors.Is(err, ErrLoad) {
		t.Errorf("got %v", err)
	}
	for _, floor := range []int{-1, 21} {
		if _, err := New(Config{Dir: exampleCatalog, Catalog: cat, DestructiveApprovals: &floor}); !errors.Is(err, ErrLoad) {
			t.Errorf("floor %d: %v", floor, err)
		}
	}
}

func TestAnEngineServesMany(t *testing.T) {
	e, cat := exampleEngine(t)
	in := Input{
		Agent:   agent(t, "spiffe://example.org/agent/ana/s1", identity.Config{PathTemplate: "/agent/{user}/{session}"}),
		Request: rebuild(t, cat), Now: noon,
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 50 {
				in := in
				in.Approvals = map[string]int{"sre": n % 4}
				d, err := e.Decide(t.Context(), in)
				if err != nil || (d.Outcome() == Allow) != (n%4 >= 2) {
					t.Errorf("%d approvals: %+v, %v", n%4, d.Verdict(), err)
				}
			}
		})
	}
	wg.Wait()
}
