package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ServerTLS is the listener's side of mTLS with SVIDs, TLS 1.3 only. It lets
// every SVID through that a bundle of src verifies, federated ones included,
// whether or not its domain is in trustDomains: the refusal of a domain that is
// not listed belongs to Authenticate, where it gets a reason and a record.
// trustDomains is for the log alone: a listed domain without a bundle is our
// fault (federation is not set up), an unlisted one is the caller's.
//
// Sessions are not resumed, since a resumed one would skip the verification.
func ServerTLS(src Source, trustDomains []string) *tls.Config {
	listed := slices.Clone(trustDomains)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		GetCertificate:         tlsconfig.GetCertificate(src),
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			return verifyPeer(raw, src, listed)
		},
	}
}

// ServerTLSWithoutClient is the same for a listener whose callers come through a
// proxy and authenticate with JWT-SVIDs: it proves the broker to the proxy and
// asks for no certificate.
func ServerTLSWithoutClient(src Source) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetCertificate:         tlsconfig.GetCertificate(src),
	}
}

func verifyPeer(raw [][]byte, bundles x509bundle.Source, listed []string) error {
	id, _, err := x509svid.ParseAndVerify(raw, bundles)
	if err == nil {
		return nil
	}
	if id.IsZero() {
		return fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	domain := id.TrustDomain()
	if _, missing := bundles.GetX509BundleForTrustDomain(domain); missing != nil {
		isListed := slices.ContainsFunc(listed, func(name string) bool {
			other, err := spiffeid.TrustDomainFromString(name)
			return err == nil && other == domain
		})
		if isListed {
			return fmt.Errorf("%w: %w", errNoBundle, missing)
		}
		return fmt.Errorf("%w: %w", ErrTrustDomain, missing)
	}
	return fmt.Errorf("%w: %w", x509Reason(err), err)
}

var errNoBundle = errors.New("a listed trust domain has no bundle: is federation set up?")
