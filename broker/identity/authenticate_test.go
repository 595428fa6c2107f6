package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

// refused checks the sentinel, the parent, and that no agent came with it.
func refused(t *testing.T, agent identity.Agent, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("got %v, want %v", err, want)
	}
	for _, other := range []error{
		identity.ErrTrustDomain, identity.ErrExpired, identity.ErrAudience, identity.ErrNotAllowed,
	} {
		if errors.Is(err, other) && !errors.Is(want, other) {
			t.Errorf("got %v, which is also %v", err, other)
		}
	}
	if agent.Valid() {
		t.Errorf("a refusal came with agent %v", agent.ID())
	}
}

func TestZeroAgentIsNotValid(t *testing.T) {
	var zero identity.Agent
	if zero.Valid() || zero.Method() != "" || len(zero.Attributes()) != 0 {
		t.Error("the zero agent passes for one")
	}
}

func TestX509(t *testing.T) {
	ours, theirs, federated := newAuthority(t, ourDomain), newAuthority(t, "foreign.test"), newAuthority(t, "partner.test")
	if err := ours.Federate(federated.Bundle()); err != nil {
		t.Fatal(err)
	}
	auth := newAuthenticator(t, ours.Source(mustID(t, "spiffe://example.org/valetkeyd")), nil)
	good := "spiffe://example.org/agent/ann/s1"
	begin, end := hour()
	for name, c := range map[string]struct {
		id         string
		begin, end time.Time
		edit       func(*x509.Certificate)
		foreign    bool // signed by another authority's key
		want       error
	}{
		"agent":         {id: good},
		"operator":      {id: "spiffe://example.org/operator/ann"},
		"no template":   {id: "spiffe://example.org/operator/bob", want: identity.ErrNotAllowed},
		"one segment":   {id: "spiffe://example.org/agent/ann", want: identity.ErrNotAllowed},
		"four segments": {id: good + "/more", want: identity.ErrNotAllowed},
		"other case":    {id: "spiffe://example.org/Agent/ann/s1", want: identity.ErrNotAllowed},
		"over":          {id: good, begin: begin, end: time.Now().Add(-time.Second), want: identity.ErrExpired},
		"not yet":       {id: good, begin: time.Now().Add(time.Minute), want: identity.ErrExpired},
		"other domain":  {id: "spiffe://foreign.test/agent/ann/s1", want: identity.ErrTrustDomain},
		"wrong key":     {id: good, foreign: true, want: identity.ErrUnauthenticated},
		"CA": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.IsCA = true
		}},
		"may sign": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
		}},
		"two IDs": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: ourDomain, Path: "/operator/ann"})
		}},
		"no ID": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.URIs, c.DNSNames = nil, []string{"agent.example.org"}
		}},
		"no SPIFFE": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "https", Host: ourDomain, Path: "/agent/ann/s1"}}
		}},
		"no path": {id: good, want: identity.ErrNotAllowed, edit: func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: ourDomain}}
		}},
		"dots": {id: good, want: identity.ErrUnauthenticated, edit: func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: ourDomain, Path: "/agent/../ann"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			authority := ours
			if c.foreign {
				authority = theirs
			}
			if c.begin.IsZero() {
				c.begin = begin
			}
			if c.end.IsZero() {
				c.end = end
			}
			edit := c.edit
			if edit == nil {
				edit = func(*x509.Certificate) {}
			}
			svid, err := authority.MalformedX509SVID(mustID(t, c.id), c.begin, c.end, edit)
			if err != nil {
				t.Fatal(err)
			}
			agent, err := auth.AuthenticateX509(svid.Certificates)
			if c.want != nil {
				refused(t, agent, err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !agent.Valid() || agent.ID().String() != c.id || agent.Method() != identity.MethodX509 {
				t.Errorf("got %v by %q", agent.ID(), agent.Method())
			}
			if got := agent.ExpiresAt(); !got.Equal(svid.Certificates[0].NotAfter) {
				t.Errorf("expires at %v, the SVID at %v", got, svid.Certificates[0].NotAfter)
			}
		})
	}

	t.Run("federated but not listed", func(t *testing.T) {
		svid, err := federated.X509SVID(mustID(t, "spiffe://partner.test/agent/ann/s1"), begin, end)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := auth.AuthenticateX509(svid.Certificates)
		refused(t, agent, err, identity.ErrTrustDomain)
		var refusal *identity.Refusal
		if !errors.As(err, &refusal) || refusal.Claimed != svid.ID {
			t.Errorf("got %v, want a refusal that names %v", err, svid.ID)
		}
	})
	t.Run("listed without a bundle", func(t *testing.T) {
		auth := newAuthenticator(t, ours.Source(mustID(t, good)), func(c *identity.Config) {
			c.TrustDomains = append(c.TrustDomains, "foreign.test")
		})
		svid, err := theirs.X509SVID(mustID(t, "spiffe://foreign.test/agent/ann/s1"), begin, end)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := auth.AuthenticateX509(svid.Certificates)
		refused(t, agent, err, identity.ErrTrustDomain)
	})
	t.Run("empty chain", func(t *testing.T) {
		agent, err := auth.AuthenticateX509(nil)
		refused(t, agent, err, identity.ErrUnauthenticated)
	})
}

func TestAttributes(t *testing.T) {
	ours, partner := newAuthority(t, ourDomain), newAuthority(t, "partner.test")
	if err := ours.Federate(partner.Bundle()); err != nil {
		t.Fatal(err)
	}
	auth := newAuthenticator(t, ours.Source(mustID(t, "spiffe://example.org/valetkeyd")), func(c *identity.Config) {
		c.TrustDomains = []string{ourDomain, "partner.test"}
		c.PathTemplate = ""
		c.PathTemplates = []string{"/agent/ci/{job}", "/agent/{user}/{session}", "spiffe://partner.test/bot/{bot_name}"}
	})
	begin, end := hour()
	for id, want := range map[string]map[string]string{
		"spiffe://example.org/agent/ci/42":   {"job": "42"},
		"spiffe://example.org/agent/ann/s1":  {"user": "ann", "session": "s1"},
		"spiffe://partner.test/agent/ann/s1": {"user": "ann", "session": "s1"},
		"spiffe://partner.test/bot/b7":       {"bot_name": "b7"},
		"spiffe://example.org/operator/ann":  {},
		"spiffe://example.org/bot/b7":        nil,
	} {
		authority := ours
		if mustID(t, id).MemberOf(partner.TrustDomain()) {
			authority = partner
		}
		svid, err := authority.X509SVID(mustID(t, id), begin, end)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := auth.AuthenticateX509(svid.Certificates)
		if want == nil {
			refused(t, agent, err, identity.ErrNotAllowed)
			continue
		}
		if err != nil {
			t.Error(err)
		}
		got := agent.Attributes()
		if !maps.Equal(got, want) {
			t.Errorf("%s: attributes %v, want %v", id, got, want)
		}
		got["user"] = "eve"
		if agent.Attributes()["user"] == "eve" {
			t.Errorf("%s: a caller changed the agent", id)
		}
	}
}

func TestNoCertificate(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	auth := newAuthenticator(t, ours.Source(mustID(t, "spiffe://example.org/valetkeyd")), nil)
	for name, ctx := range map[string]context.Context{
		"no peer":  t.Context(),
		"no TLS":   peer.NewContext(t.Context(), &peer.Peer{}),
		"no certs": peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}}),
	} {
		agent, err := auth.Authenticate(ctx)
		if refused(t, agent, err, identity.ErrUnauthenticated); t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestCheckedOnEveryCall keeps one connection while the world changes.
func TestCheckedOnEveryCall(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	serverID := mustID(t, "spiffe://example.org/valetkeyd")
	var ahead time.Duration
	src := ours.Source(serverID)
	auth := newAuthenticator(t, src, func(c *identity.Config) {
		c.Now = func() time.Time { return time.Now().Add(ahead) }
	})
	l := listen(t, auth, identity.ServerTLS(src, []string{ourDomain}))
	client := l.dial(t, ours.Source(mustID(t, "spiffe://example.org/agent/ann/s1")), serverID)
	if v := l.check(t.Context(), t, client); v.err != nil {
		t.Fatal(v.err)
	}
	ahead = time.Hour // past the SVID's ten minutes
	v := l.check(t.Context(), t, client)
	refused(t, v.agent, v.err, identity.ErrExpired)
	ahead = 0
	if v := l.check(t.Context(), t, client); v.err != nil {
		t.Error(v.err)
	}
}

// TestBundleCheckedOnEveryCall takes the authority of a good SVID away.
func TestBundleCheckedOnEveryCall(t *testing.T) {
	ours, impostor := newAuthority(t, ourDomain), newAuthority(t, ourDomain)
	bundles := x509bundle.NewSet(ours.X509Bundle())
	auth, err := identity.New(identity.Config{TrustDomains: []string{ourDomain}, PathTemplate: "/{name}"}, bundles, nil)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := hour()
	svid, err := ours.X509SVID(mustID(t, "spiffe://example.org/ann"), begin, end)
	if err != nil {
		t.Fatal(err)
	}
	good := func() {
		t.Helper()
		for range 2 {
			if agent, err := auth.AuthenticateX509(svid.Certificates); err != nil || agent.ID() != svid.ID {
				t.Fatalf("got %v, %v", agent.ID(), err)
			}
		}
	}
	good()
	bundles.Add(impostor.X509Bundle())
	agent, err := auth.AuthenticateX509(svid.Certificates)
	refused(t, agent, err, identity.ErrUnauthenticated)
	bundles.Remove(ours.TrustDomain())
	agent, err = auth.AuthenticateX509(svid.Certificates)
	refused(t, agent, err, identity.ErrTrustDomain)
	bundles.Add(ours.X509Bundle())
	good()
	if bundle, ok := bundles.Get(ours.TrustDomain()); ok { // changed in place
		bundle.AddX509Authority(impostor.X509Bundle().X509Authorities()[0])
		good()
		bundle.RemoveX509Authority(ours.X509Bundle().X509Authorities()[0])
	}
	agent, err = auth.AuthenticateX509(svid.Certificates)
	refused(t, agent, err, identity.ErrUnauthenticated)
}

func TestHandshake(t *testing.T) {
	ours, partner, stranger := newAuthority(t, ourDomain), newAuthority(t, "partner.test"), newAuthority(t, "stranger.test")
	for _, pair := range [][2]*devauthority.Authority{{ours, partner}, {partner, ours}} {
		if err := pair[0].Federate(pair[1].Bundle()); err != nil {
			t.Fatal(err)
		}
	}
	serverID := mustID(t, "spiffe://example.org/valetkeyd")
	src := ours.Source(serverID)
	l := listen(t, newAuthenticator(t, src, nil), identity.ServerTLS(src, []string{ourDomain}))

	t.Run("federated domain gets a reason", func(t *testing.T) {
		client := l.dial(t, partner.Source(mustID(t, "spiffe://partner.test/agent/ann/s1")), serverID)
		v := l.check(t.Context(), t, client)
		refused(t, v.agent, v.err, identity.ErrTrustDomain)
	})
	t.Run("not allowed gets a reason", func(t *testing.T) {
		client := l.dial(t, ours.Source(mustID(t, "spiffe://example.org/agent/ann")), serverID)
		v := l.check(t.Context(), t, client)
		refused(t, v.agent, v.err, identity.ErrNotAllowed)
	})
	agent := ours.Source(mustID(t, "spiffe://example.org/agent/ann/s1"))
	over := ours.Source(mustID(t, "spiffe://example.org/agent/ann/s1"))
	svid, err := ours.X509SVID(mustID(t, "spiffe://example.org/agent/ann/s1"), time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	over.Fix(svid)
	tls12 := tlsconfig.MTLSClientConfig(agent, agent, tlsconfig.AuthorizeID(serverID))
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, config := range map[string]*tls.Config{
		"unknown bundle": tlsconfig.MTLSClientConfig(stranger.Source(mustID(t, "spiffe://stranger.test/agent/ann/s1")), agent, tlsconfig.AuthorizeID(serverID)),
		"expired":        tlsconfig.MTLSClientConfig(over, over, tlsconfig.AuthorizeID(serverID)),
		"no certificate": tlsconfig.TLSClientConfig(agent, tlsconfig.AuthorizeID(serverID)),
		"TLS 1.2":        tls12,
	} {
		t.Run(name+" fails the handshake", func(t *testing.T) {
			if _, err := l.dialTLS(t, config).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil {
				t.Error("the call passed")
			}
			if len(l.verdicts) != 0 {
				t.Errorf("the call reached the interceptor: %v", <-l.verdicts)
			}
		})
	}
}

func TestBearerWithoutAllowJWT(t *testing.T) {
	ours := newAuthority(t, ourDomain)
	src := ours.Source(mustID(t, "spiffe://example.org/valetkeyd"))
	auth := newAuthenticator(t, src, func(c *identity.Config) { c.AllowJWT = false })
	token, err := ours.JWTSVID(mustID(t, "spiffe://example.org/agent/ann/s1"), []string{audience}, time.Now(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	agent, err := auth.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token)))
	refused(t, agent, err, identity.ErrUnauthenticated)
}

func TestJWT(t *testing.T) {
	ours, partner := newAuthority(t, ourDomain), newAuthority(t, "partner.test")
	impostor := newAuthority(t, ourDomain)
	if err := ours.Federate(partner.Bundle()); err != nil {
		t.Fatal(err)
	}
	src := ours.Source(mustID(t, "spiffe://example.org/valetkeyd"))
	good := mustID(t, "spiffe://example.org/agent/ann/s1")
	now := time.Now()
	type sign func(id spiffeid.ID, audience []string, issuedAt, expiresAt time.Time) (string, error)
	for name, c := range map[string]struct {
		sign     sign
		id       spiffeid.ID
		audience string
		issued   time.Time
		ends     time.Time
		scheme   string
		ahead    time.Duration
		want     error
	}{
		"agent":            {},
		"scheme's case":    {scheme: "bEARER "},
		"wrong audience":   {audience: "other", want: identity.ErrAudience},
		"over":             {ends: now.Add(-2 * time.Minute), want: identity.ErrExpired},
		"over, in leeway":  {ends: now.Add(-10 * time.Second), want: identity.ErrExpired},
		"over by our now":  {ahead: 2 * time.Hour, want: identity.ErrExpired},
		"not yet":          {issued: now.Add(time.Hour), ends: now.Add(2 * time.Hour), want: identity.ErrUnauthenticated},
		"federated only":   {sign: partner.JWTSVID, id: mustID(t, "spiffe://partner.test/agent/ann/s1"), want: identity.ErrTrustDomain},
		"unknown domain":   {id: mustID(t, "spiffe://foreign.test/agent/ann/s1"), want: identity.ErrTrustDomain},
		"wrong key":        {sign: impostor.JWTSVID, want: identity.ErrUnauthenticated},
		"wrong key, aud":   {sign: impostor.JWTSVID, audience: "other", want: identity.ErrUnauthenticated},
		"no template":      {id: mustID(t, "spiffe://example.org/agent/ann"), want: identity.ErrNotAllowed},
		"basic":            {scheme: "Basic ", want: identity.ErrUnauthenticated},
		"no scheme":        {scheme: " ", want: identity.ErrUnauthenticated},
		"other audience 2": {audience: audience + "/", want: identity.ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			if c.sign == nil {
				c.sign = ours.JWTSVID
			}
			if c.id.IsZero() {
				c.id = good
			}
			if c.audience == "" {
				c.audience = audience
			}
			if c.issued.IsZero() {
				c.issued = now.Add(-time.Hour)
			}
			if c.ends.IsZero() {
				c.ends = now.Add(time.Hour)
			}
			if c.scheme == "" {
				c.scheme = "Bearer "
			}
			token, err := c.sign(c.id, []string{c.audience}, c.issued, c.ends)
			if err != nil {
				t.Fatal(err)
			}
			auth := newAuthenticator(t, src, func(cfg *identity.Config) {
				cfg.Now = func() time.Time { return time.Now().Add(c.ahead) }
			})
			agent, err := auth.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", c.scheme+token)))
			if c.want != nil {
				refused(t, agent, err, c.want)
				// A name is believed only with a good signature.
				var refusal *identity.Refusal
				named := errors.As(err, &refusal)
				signed := errors.Is(c.want, identity.ErrExpired) || errors.Is(c.want, identity.ErrAudience) || errors.Is(c.want, identity.ErrNotAllowed)
				if named != signed || named && refusal.Claimed != c.id {
					t.Errorf("got %v, names the caller: %v, want %v", err, named, signed)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !agent.Valid() || agent.ID() != good || agent.Method() != identity.MethodJWT || agent.Attributes()["user"] != "ann" {
				t.Errorf("got %v by %q with %v", agent.ID(), agent.Method(), agent.Attributes())
			}
		})
	}
	auth := newAuthenticator(t, src, nil)
	token, err := ours.JWTSVID(good, []string{audience}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string][]string{
		"two headers": {"Bearer " + token, "Bearer " + token},
		"empty":       {""},
		"garbage":     {"Bearer a.b.c"},
		"no token":    {"Bearer "},
		"huge":        {"Bearer " + token + string(make([]byte, 9000))},
		"unsigned":    {"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJzcGlmZmU6Ly9leGFtcGxlLm9yZy9hZ2VudC9hL2IifQ."},
	} {
		t.Run(name, func(t *testing.T) {
			agent, err := auth.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": values}))
			refused(t, agent, err, identity.ErrUnauthenticated)
		})
	}
}
