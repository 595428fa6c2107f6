package identity

import (
	"fmt"
	"strings"

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
	return a.AuthenticateJWT(token)
}

// AuthenticateJWT verifies a JWT-SVID. It refuses every token where AllowJWT is
// not set.
func (a *Authenticator) AuthenticateJWT(token string) (Agent, error) {
	switch {
	case !a.allowJWT:
		return Agent{}, fmt.Errorf("%w: JWT-SVIDs are not accepted here", ErrUnauthenticated)
	case len(token) > maxToken:
		return Agent{}, fmt.Errorf("%w: token of %d bytes is over %d", ErrUnauthenticated, len(token), maxToken)
	}
	bundles := &listedBundles{authenticator: a}
	svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{a.audience})
	if err != nil {
		err = fmt.Errorf("%w: %w", jwtReason(token, bundles), err)
		if bundles.asked.IsZero() {
			return Agent{}, err
		}
		return Agent{}, fmt.Errorf("authenticating a token of %q: %w", bundles.asked, err)
	}
	// The library allows a minute of leeway; a token that ended is over.
	if !a.now().Before(svid.Expiry) {
		return Agent{}, &Refusal{Claimed: svid.ID, Cause: ErrExpired}
	}
	return a.admit(svid.ID, svid.Expiry, MethodJWT)
}

// jwtReason finds the sentinel for a token that ParseAndValidate refused. The
// library's errors are texts, so it asks again without the audience: a token
// that passes then was made for somebody else. The answer never lets anyone in.
func jwtReason(token string, bundles *listedBundles) error {
	if bundles.refusal != nil {
		return ErrTrustDomain
	}
	_, again := jwtsvid.ParseAndValidate(token, bundles, nil)
	switch {
	case again == nil:
		return ErrAudience
	case strings.Contains(again.Error(), "token has expired"):
		return ErrExpired
	default:
		return ErrUnauthenticated
	}
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
