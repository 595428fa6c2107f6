package devauthority

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source is an identity source without a socket, for tests that need many
// callers. It is safe for concurrent use.
type Source struct {
	authority *Authority
	id        spiffeid.ID

	mu     sync.Mutex
	fixed  *x509svid.SVID // set by Fix
	svid   *x509svid.SVID
	closed bool
}

// Source gives SVIDs of id, fresh by the authority's clock.
func (a *Authority) Source(id spiffeid.ID) *Source {
	return &Source{authority: a, id: id}
}

// Fix makes the source give svid from now on, such as one that is over.
func (s *Source) Fix(svid *x509svid.SVID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fixed = svid
}

// GetX509SVID gives the same SVID until half of its life is over.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("dev identity source is closed")
	case s.fixed != nil:
		return s.fixed, nil
	}
	renewAt := s.authority.cfg.Now().Add(s.authority.cfg.SVIDTTL / 2)
	if s.svid != nil && renewAt.Before(s.svid.Certificates[0].NotAfter) {
		return s.svid, nil
	}
	svid, err := s.authority.fresh(s.id)
	if err != nil {
		return nil, err
	}
	s.svid = svid
	return svid, nil
}

// GetX509BundleForTrustDomain knows the authority's own and federated domains.
func (s *Source) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.authority.x509.GetX509BundleForTrustDomain(domain)
}

// GetJWTBundleForTrustDomain knows the authority's own and federated domains.
func (s *Source) GetJWTBundleForTrustDomain(domain spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	return s.authority.jwt.GetJWTBundleForTrustDomain(domain)
}

// FetchJWTSVID makes a fresh JWT-SVID.
func (s *Source) FetchJWTSVID(_ context.Context, audience string) (*jwtsvid.SVID, error) {
	token, err := s.authority.freshJWT(s.id, []string{audience})
	if err != nil {
		return nil, err
	}
	// Insecure is enough: the token was signed a line above.
	svid, err := jwtsvid.ParseInsecure(token, []string{audience})
	if err != nil {
		return nil, fmt.Errorf("making JWT-SVID for %q: %w", s.id, err)
	}
	return svid, nil
}

// Close makes GetX509SVID fail.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
