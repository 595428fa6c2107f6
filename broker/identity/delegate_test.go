package identity_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/valetkey/valetkey/broker/identity"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const vaultID = "spiffe://example.org/vault/plugin"

func delegates(cfg *identity.Config) {
	cfg.Delegates = []identity.Delegate{
		{ID: vaultID, Agents: []string{"/agent/{user}/vault", "/operator/{name}", "/vault/{what}", "spiffe://example.org/batch/{job}"}},
	}
}

// TestSpeakFor is over a real connection: who calls, whom it names, and who that
// then is, or why not.
func TestSpeakFor(t *testing.T) {
	authority := newAuthority(t, ourDomain)
	src := authority.Source(mustID(t, "spiffe://example.org/broker"))
	l := listen(t, newAuthenticator(t, src, delegates), identity.ServerTLS(src, []string{ourDomain}))
	const alice = "spiffe://example.org/agent/alice/vault"
	for name, tc := range map[string]struct {
		caller string
		names  []string
		want   error
	}{
		"its agent":                {vaultID, []string{alice}, nil},
		"nobody":                   {vaultID, nil, identity.ErrNoAgentNamed},
		"two":                      {vaultID, []string{alice, "spiffe://example.org/agent/bob/vault"}, identity.ErrNoAgentNamed},
		"the same twice":           {vaultID, []string{alice, alice}, identity.ErrNoAgentNamed},
		"nothing":                  {vaultID, []string{""}, identity.ErrNoAgentNamed},
		"no SPIFFE ID":             {vaultID, []string{"alice"}, identity.ErrNoAgentNamed},
		"dots":                     {vaultID, []string{"spiffe://example.org/agent/../vault"}, identity.ErrNoAgentNamed},
		"another session":          {vaultID, []string{"spiffe://example.org/agent/alice/s1"}, identity.ErrNotDelegated},
		"a longer path":            {vaultID, []string{alice + "/s1"}, identity.ErrNotDelegated},
		"another domain":           {vaultID, []string{"spiffe://other.example/agent/alice/vault"}, identity.ErrNotDelegated},
		"an operator":              {vaultID, []string{"spiffe://example.org/operator/ann"}, identity.ErrNotDelegated},
		"itself":                   {vaultID, []string{vaultID}, identity.ErrNotDelegated},
		"no path template":         {vaultID, []string{"spiffe://example.org/batch/nightly"}, identity.ErrNotDelegated},
		"an agent for another":     {"spiffe://example.org/agent/bob/s1", []string{alice}, identity.ErrNotDelegate},
		"an agent for itself":      {alice, []string{alice}, identity.ErrNotDelegate},
		"an operator for an agent": {"spiffe://example.org/operator/ann", []string{alice}, identity.ErrNotDelegate},
	} {
		t.Run(name, func(t *testing.T) {
			client := l.dial(t, authority.Source(mustID(t, tc.caller)), mustID(t, "spiffe://example.org/broker"))
			ctx := t.Context()
			for _, id := range tc.names {
				ctx = metadata.AppendToOutgoingContext(ctx, valetkeyv1.OnBehalfOfAgent, id)
			}
			v := l.check(ctx, t, client)
			if !errors.Is(v.err, tc.want) {
				t.Fatalf("got %v, want %v", v.err, tc.want)
			}
			if tc.want != nil {
				var r *identity.Refusal
				if !errors.Is(v.err, identity.ErrNotAllowed) || !errors.As(v.err, &r) || v.agent.Valid() {
					t.Errorf("the refusal is %v, and the agent valid: %v", v.err, v.agent.Valid())
				}
				if errors.Is(v.err, identity.ErrNotDelegated) && (r.Claimed.String() != tc.names[0] || r.Delegate.String() != tc.caller) {
					t.Errorf("the refusal names %v by %v", r.Claimed, r.Delegate)
				}
				return
			}
			if v.agent.ID().String() != alice || v.agent.Delegate().String() != tc.caller || v.agent.Attributes()["user"] != "alice" || v.agent.Attributes()["session"] != "vault" {
				t.Errorf("got %v by %v with %v", v.agent.ID(), v.agent.Delegate(), v.agent.Attributes())
			}
		})
	}
}

// TestDelegateAlone holds the exported ways past the metadata to making no agent of
// a delegate.
func TestDelegateAlone(t *testing.T) {
	authority := newAuthority(t, ourDomain)
	src := authority.Source(mustID(t, "spiffe://example.org/broker"))
	a := newAuthenticator(t, src, delegates)
	from, until := hour()
	svid, err := authority.X509SVID(mustID(t, vaultID), from, until)
	if err != nil {
		t.Fatal(err)
	}
	if agent, err := a.AuthenticateX509(svid.Certificates); !errors.Is(err, identity.ErrNoAgentNamed) || agent.Valid() {
		t.Errorf("a delegate's certificate is an agent: %v", err)
	}
}

func TestDelegateConfig(t *testing.T) {
	authority := newAuthority(t, ourDomain)
	src := authority.Source(mustID(t, "spiffe://example.org/broker"))
	good := []string{"/agent/{user}/vault"}
	for _, tc := range []struct {
		delegates []identity.Delegate
		want      string
	}{
		{[]identity.Delegate{{ID: vaultID, Agents: good}}, ""},
		{[]identity.Delegate{{ID: "vault", Agents: good}}, "scheme"},
		{[]identity.Delegate{{ID: "spiffe://other.example/vault", Agents: good}}, "is not listed"},
		{[]identity.Delegate{{ID: "spiffe://example.org/operator/ann", Agents: good}}, "an operator and as a delegate"},
		{[]identity.Delegate{{ID: vaultID}}, "names no agents"},
		{[]identity.Delegate{{ID: vaultID, Agents: []string{"agent"}}}, "path template"},
		{[]identity.Delegate{{ID: vaultID, Agents: []string{"spiffe://other.example/a"}}}, "is not listed"},
		{[]identity.Delegate{{ID: vaultID, Agents: good}, {ID: vaultID, Agents: good}}, "twice"},
	} {
		_, err := identity.New(identity.Config{
			TrustDomains: []string{ourDomain}, PathTemplate: "/agent/{user}/{session}", Operators: []string{"spiffe://example.org/operator/ann"}, Delegates: tc.delegates,
		}, src, src)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.delegates, err, tc.want)
		}
	}
}
