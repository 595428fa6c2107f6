package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Config says who may call.
type Config struct {
	// TrustDomains are the names of the domains whose SVIDs are accepted, our own
	// included. Empty is an error.
	TrustDomains []string

	// PathTemplate and PathTemplates together are the paths that may call, in
	// the order in which they are tried. "/agent/{user}/{session}" matches
	// exactly three segments and names two of them. A template that begins with
	// "spiffe://domain/" holds in that domain alone, a bare one in all of
	// TrustDomains. An error where nobody at all could call.
	PathTemplate  string
	PathTemplates []string

	// Operators and Approvers are whole SPIFFE IDs. An ID has one role: none of them
	// may be in the other list or a delegate's, or fit a template.
	Operators []string
	Approvers []string

	// Delegates are who may speak for agents; nil for nobody.
	Delegates []Delegate

	// AllowJWT makes an agent's JWT-SVID in "authorization: Bearer" count, before the
	// TLS peer. Set it only for a listener behind a proxy that ends TLS.
	AllowJWT bool

	// JWTAudience must be in a JWT-SVID's aud. Required with AllowJWT.
	JWTAudience string

	// Now is the clock that expiry is held against; nil is time.Now. JWT-SVIDs
	// must also be valid by the machine's own clock.
	Now func() time.Time
}

// Authenticator turns a call into an Agent. It is safe for concurrent
// use as far as its bundle sources are.
type Authenticator struct {
	callers    callers
	allowJWT   bool
	audience   string
	now        func() time.Time
	bundles    x509bundle.Source
	jwtBundles jwtbundle.Source
	verified   verified
}

// New validates cfg. jwtBundles may be nil where AllowJWT is not set.
func New(cfg Config, bundles x509bundle.Source, jwtBundles jwtbundle.Source) (*Authenticator, error) {
	a := &Authenticator{
		allowJWT:   cfg.AllowJWT,
		audience:   cfg.JWTAudience,
		now:        cfg.Now,
		bundles:    bundles,
		jwtBundles: jwtBundles,
	}
	if a.now == nil {
		a.now = time.Now
	}
	switch {
	case bundles == nil:
		return nil, errors.New("configuring identity: no source of X.509 bundles")
	case cfg.AllowJWT && jwtBundles == nil:
		return nil, errors.New("configuring identity: JWT-SVIDs are allowed without a source of JWT bundles")
	case cfg.AllowJWT && cfg.JWTAudience == "":
		// go-spiffe takes an empty audience for "any", so this must not pass.
		return nil, errors.New("configuring identity: JWT-SVIDs are allowed without an audience")
	}
	var err error
	if a.callers, err = newCallers(cfg); err != nil {
		return nil, fmt.Errorf("configuring identity: %w", err)
	}
	return a, nil
}

// Authenticate says who is calling, from the gRPC peer and metadata in ctx. It
// holds the SVID against the time and the bundle again on each call. The error wraps ErrTrustDomain,
// ErrExpired, ErrAudience, ErrNotAllowed or plain ErrUnauthenticated, and is a
// *Refusal where the caller named itself. Where the caller is a delegate, the
// Agent is the one that it speaks for.
func (a *Authenticator) Authenticate(ctx context.Context) (Agent, error) {
	caller, err := a.authenticateCaller(ctx)
	if err != nil {
		return Agent{}, err
	}
	return a.speakFor(ctx, caller)
}

func (a *Authenticator) authenticateCaller(ctx context.Context) (Agent, error) {
	if a.allowJWT {
		if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
			return a.authenticateJWT(values)
		}
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Agent{}, fmt.Errorf("%w: the call has no peer", ErrUnauthenticated)
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return Agent{}, fmt.Errorf("%w: the call has no client certificate", ErrUnauthenticated)
	}
	return a.authenticateX509(info.State.PeerCertificates)
}

// AuthenticateX509 verifies an X509-SVID chain, leaf first, that a TLS handshake
// proved the caller to hold the key of. A delegate is refused: it names nobody here.
func (a *Authenticator) AuthenticateX509(chain []*x509.Certificate) (Agent, error) {
	caller, err := a.authenticateX509(chain)
	if err != nil {
		return Agent{}, err
	}
	return a.speakFor(context.Background(), caller)
}

func (a *Authenticator) authenticateX509(chain []*x509.Certificate) (Agent, error) {
	if len(chain) == 0 {
		return Agent{}, fmt.Errorf("%w: empty certificate chain", ErrUnauthenticated)
	}
	claimed, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return Agent{}, fmt.Errorf("%w: reading X509-SVID: %w", ErrUnauthenticated, err)
	}
	id, expiresAt, err := a.verifyX509(claimed, chain)
	if err != nil {
		return Agent{}, &Refusal{Claimed: claimed, Cause: err}
	}
	return a.admit(id, expiresAt, MethodX509)
}

func (a *Authenticator) verifyX509(claimed spiffeid.ID, chain []*x509.Certificate) (spiffeid.ID, time.Time, error) {
	if err := a.checkDomain(claimed.TrustDomain()); err != nil {
		return spiffeid.ID{}, time.Time{}, err
	}
	bundle, err := a.bundles.GetX509BundleForTrustDomain(claimed.TrustDomain())
	if err != nil {
		return spiffeid.ID{}, time.Time{}, fmt.Errorf("%w: %w", ErrTrustDomain, err)
	}
	now, authorities := a.now(), bundle.X509Authorities()
	if id, ok := a.verified.lookup(chain[0], authorities, now); ok {
		return id, chain[0].NotAfter, nil
	}
	// The bundle itself is the source here: what is remembered must be what was
	// verified against.
	id, chains, err := x509svid.Verify(chain, x509bundle.FromX509Authorities(claimed.TrustDomain(), authorities), x509svid.WithTime(now))
	if err != nil {
		return spiffeid.ID{}, time.Time{}, fmt.Errorf("%w: %w", x509Reason(err), err)
	}
	a.verified.remember(id, chains[0], authorities)
	return id, chain[0].NotAfter, nil
}

// x509Reason tells an SVID out of time from every other fault.
func x509Reason(err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return ErrExpired
	}
	return ErrUnauthenticated
}

func (a *Authenticator) checkDomain(domain spiffeid.TrustDomain) error {
	if !a.callers.domains[domain] {
		return fmt.Errorf("%w: %q is not listed", ErrTrustDomain, domain)
	}
	return nil
}

// admit is the only place where an Agent is made: the SVID is verified, its own or
// its delegate's; what is left is whether its ID may call, and as what.
func (a *Authenticator) admit(id spiffeid.ID, expiresAt time.Time, method string) (Agent, error) {
	agent := Agent{id: id, expiresAt: expiresAt.UTC(), method: method, role: a.callers.roles[id]}
	if agent.role != 0 {
		if method == MethodJWT {
			return Agent{}, &Refusal{Claimed: id, Cause: fmt.Errorf("%w: it is %s", ErrByToken, agent.role)}
		}
		return agent, nil // a delegate too: it is asked next whom it speaks for
	}
	if attributes, fits := a.callers.isAgent(id); fits {
		agent.role, agent.attributes = RoleAgent, attributes
		return agent, nil
	}
	return Agent{}, &Refusal{Claimed: id, Cause: ErrNotAllowed}
}
