package identity_test

import (
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity"
)

// TestSPIRE runs the whole step against a real SPIRE: the broker's and the
// agent's SVIDs come from its Workload API, calls go over real mTLS and with real
// JWT-SVIDs.
func TestSPIRE(t *testing.T) {
	const (
		brokerID   = "spiffe://example.org/valetkeyd"
		agentID    = "spiffe://example.org/agent/ann/s1"
		strangerID = "spiffe://example.org/batch/nightly"
	)
	const issuer = "https://oidc.example.org"
	spire := servers.SPIREWithIssuer(t, ourDomain, issuer)
	for _, id := range []string{brokerID, agentID, strangerID} {
		spire.Entry(id)
	}
	source := func(id string) identity.Source {
		return open(t, identity.SourceConfig{WorkloadAPI: spire.WorkloadAPI(), ID: id})
	}
	broker, agent, stranger := source(brokerID), source(agentID), source(strangerID)
	auth := newAuthenticator(t, broker, nil)
	l := listen(t, auth, identity.ServerTLS(broker, []string{ourDomain}))

	t.Run("X509-SVID", func(t *testing.T) {
		v := l.check(t.Context(), t, l.dial(t, agent, mustID(t, brokerID)))
		if v.err != nil {
			t.Fatal(v.err)
		}
		if v.agent.ID().String() != agentID || v.agent.Method() != identity.MethodX509 || v.agent.Attributes()["user"] != "ann" {
			t.Errorf("got %v by %q with %v", v.agent.ID(), v.agent.Method(), v.agent.Attributes())
		}
	})
	t.Run("X509-SVID that fits no template", func(t *testing.T) {
		v := l.check(t.Context(), t, l.dial(t, stranger, mustID(t, brokerID)))
		refused(t, v.agent, v.err, identity.ErrNotAllowed)
	})
	t.Run("JWT-SVID", func(t *testing.T) {
		behindProxy := listen(t, auth, identity.ServerTLSWithoutClient(broker))
		client := behindProxy.dialTLS(t, tlsconfig.TLSClientConfig(agent, tlsconfig.AuthorizeID(mustID(t, brokerID))))
		for name, c := range map[string]struct {
			source   identity.Source
			audience string
			want     error
		}{
			"agent":          {source: agent, audience: audience},
			"wrong audience": {source: agent, audience: "somebody-else", want: identity.ErrAudience},
			"no template":    {source: stranger, audience: audience, want: identity.ErrNotAllowed},
		} {
			token, err := c.source.FetchJWTSVID(t.Context(), c.audience)
			if err != nil {
				t.Fatal(err)
			}
			if token.Claims["iss"] != issuer {
				t.Errorf("%s: issuer %v", name, token.Claims["iss"])
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token.Marshal())
			v := behindProxy.check(ctx, t, client)
			switch {
			case c.want != nil:
				refused(t, v.agent, v.err, c.want)
			case v.err != nil:
				t.Errorf("%s: %v", name, v.err)
			case v.agent.ID().String() != agentID || v.agent.Method() != identity.MethodJWT:
				t.Errorf("%s: got %v by %q", name, v.agent.ID(), v.agent.Method())
			}
		}
		v := behindProxy.check(t.Context(), t, client)
		refused(t, v.agent, v.err, identity.ErrUnauthenticated)
	})
}
