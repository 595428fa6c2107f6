package identity_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/identity"
)

const (
	oneID   = "spiffe://example.org/people/ann"
	agentID = "spiffe://example.org/agent/ann/s1"
)

// TestAnIDHasOneRole gives one ID each two of the four roles, in every way.
func TestAnIDHasOneRole(t *testing.T) {
	good := identity.Config{
		TrustDomains: []string{ourDomain}, PathTemplates: []string{"/agent/{user}/{session}", "spiffe://example.org/ci/deployer"},
		Operators: []string{"spiffe://example.org/operator"}, Approvers: []string{"spiffe://example.org/bob"},
		Delegates: []identity.Delegate{{ID: vaultID, Agents: []string{"/agent/{user}/vault"}}},
	}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	be := map[string]func(*identity.Config, string){
		"an operator": func(c *identity.Config, id string) { c.Operators = append(c.Operators, id) },
		"an approver": func(c *identity.Config, id string) { c.Approvers = append(c.Approvers, id) },
		"a delegate": func(c *identity.Config, id string) {
			c.Delegates = append(c.Delegates, identity.Delegate{ID: id, Agents: []string{"/agent/{user}/vault"}})
		},
	}
	refused := func(name string, c identity.Config, id string, says ...string) {
		t.Helper()
		err := c.Check()
		for _, want := range append(says, id, "one role") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want it to say %q", name, err, want)
			}
		}
	}
	for first, one := range be {
		for second, other := range be {
			if first == second {
				continue
			}
			c := good
			one(&c, oneID)
			other(&c, oneID)
			refused(first+" and "+second, c, oneID, first, second)
		}
		for _, id := range []string{agentID, "spiffe://example.org/ci/deployer"} {
			c := good
			one(&c, id)
			refused(first+" and an agent", c, id, first, "an agent by path template")
		}
	}
	// All overlaps are named at once.
	c := good
	be["an operator"](&c, agentID)
	be["a delegate"](&c, "spiffe://example.org/bob")
	refused("two", c, agentID, "spiffe://example.org/bob")
}

// TestATokenIsAnAgentsAlone sends each role's JWT-SVID to one authenticator: the
// roles are the same on each listener, and only an agent's counts here.
func TestATokenIsAnAgentsAlone(t *testing.T) {
	authority := newAuthority(t, ourDomain)
	src := authority.Source(mustID(t, "spiffe://example.org/broker"))
	a := newAuthenticator(t, src, func(c *identity.Config) {
		delegates(c)
		c.Approvers = []string{oneID}
	})
	from, until := hour()
	for id, want := range map[string]error{
		agentID: nil, vaultID: identity.ErrByToken, oneID: identity.ErrByToken, "spiffe://example.org/operator/ann": identity.ErrByToken,
		"spiffe://example.org/stranger": identity.ErrNotAllowed,
	} {
		token, err := authority.JWTSVID(mustID(t, id), []string{audience}, from, until)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := a.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token)))
		if !errors.Is(err, want) || agent.Valid() != (want == nil) {
			t.Errorf("%s: got %v, want %v", id, err, want)
		}
		if want == nil && agent.Role() != identity.RoleAgent {
			t.Errorf("%s is %s", id, agent.Role())
		}
	}
}

// TestRoles says what an SVID makes of whom.
func TestRoles(t *testing.T) {
	authority := newAuthority(t, ourDomain)
	src := authority.Source(mustID(t, "spiffe://example.org/broker"))
	a := newAuthenticator(t, src, func(c *identity.Config) { c.Approvers = []string{oneID} })
	from, until := hour()
	for id, want := range map[string]identity.Role{
		agentID: identity.RoleAgent, oneID: identity.RoleApprover, "spiffe://example.org/operator/ann": identity.RoleOperator,
	} {
		svid, err := authority.X509SVID(mustID(t, id), from, until)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := a.AuthenticateX509(svid.Certificates); err != nil || who.Role() != want {
			t.Errorf("%s is %s (%v), want %s", id, who.Role(), err, want)
		}
	}
	if (identity.Agent{}).Valid() || (identity.Agent{}).Role() != 0 {
		t.Error("the zero Agent is somebody")
	}
}
