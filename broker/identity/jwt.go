package identity

import (
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

// maxToken bounds what is parsed before anything is verified. SPIRE's tokens
// have under 1 KiB.
const maxToken = 8 << 10

func (a *Authenticator) authenticateJWT(values []string) (Agent, error) {
	if len(values) != 1 {
		return Agent{}, fmt.Errorf("%w: more than one authorization header", ErrUnauthenticated)
	}
	// RFC 9110 section 11.1: the scheme is case-insensitive.
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return Agent{}, fmt.Errorf("%w: authorization is not a bearer token", ErrUnauthenticated)
	}
	return a.verifyJWT(token)
}

func (a *Authenticator) verifyJWT(token string) (Agent, error) {
	switch {
	case !a.allowJWT:
		return Agent{}, fmt.Errorf("%w: JWT-SVIDs are not accepted here", ErrUnauthenticated)
	case len(token) > maxToken:
		return Agent{}, fmt.Errorf("%w: token of %d bytes is over %d", ErrUnauthenticated, len(token), maxToken)
	}
	bundles := &listedBundles{authenticator: a}
	svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{a.audience})
	if err != nil {
		return Agent{}, jwtRefusal(token, bundles, err)
	}
	// The library allows a minute of leeway; a token that ended is over.
	if !a.now().Before(svid.Expiry) {
		return Agent{}, &Refusal{Claimed: svid.ID, Cause: ErrExpired}
	}
	return a.admit(svid.ID, svid.Expiry, MethodJWT)
}

// jwtRefusal finds the sentinel for a token that ParseAndValidate refused. The
// library's errors are texts, so it asks again without the audience: a token
// that passes then was made for somebody else. The answer never lets anyone in.
//
// The caller is named only where the signature was good: on a listener that asks
// for no certificate, anybody can write anybody's name into a token.
func jwtRefusal(token string, bundles *listedBundles, err error) error {
	if bundles.refusal != nil {
		return fmt.Errorf("authenticating a token of %q: %w: %w", bundles.asked, ErrTrustDomain, err)
	}
	_, again := jwtsvid.ParseAndValidate(token, bundles, nil)
	switch {
	case again == nil:
		return &Refusal{Claimed: subject(token), Cause: fmt.Errorf("%w: %w", ErrAudience, err)}
	case strings.Contains(again.Error(), "token has expired"):
		// The library looks at the time after the signature.
		return &Refusal{Claimed: subject(token), Cause: fmt.Errorf("%w: %w", ErrExpired, again)}
	default:
		return fmt.Errorf("authenticating a token: %w: %w", ErrUnauthenticated, again)
	}
}

// subject reads the ID of a token whose signature is known to be good, whatever
// else is wrong with it. Zero where it has none.
func subject(token string) spiffeid.ID {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
	})
	if err != nil {
		return spiffeid.ID{}
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromString(claims.Subject)
	if err != nil {
		return spiffeid.ID{}
	}
	return id
}

// listedBundles gives bundles of listed trust domains alone, and remembers the
// question and a refusal for the one token it is made for.
type listedBundles struct {
	authenticator *Authenticator
	asked         spiffeid.TrustDomain
	refusal       error
}

func (l *listedBundles) GetJWTBundleForTrustDomain(domain spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	l.asked = domain
	if l.refusal = l.authenticator.checkDomain(domain); l.refusal != nil {
		return nil, l.refusal
	}
	bundle, err := l.authenticator.jwtBundles.GetJWTBundleForTrustDomain(domain)
	l.refusal = err
	return bundle, err
}
