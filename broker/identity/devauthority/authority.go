package devauthority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Lives where Config leaves them zero.
const (
	DefaultSVIDTTL = 10 * time.Minute
	DefaultJWTTTL  = 5 * time.Minute

	caTTL = 24 * time.Hour
	// backdate forgives a reader whose clock is a little behind.
	backdate = time.Minute
)

// Config describes an authority.
type Config struct {
	// TrustDomain is the name, such as "dev.valetkey.test". Required.
	TrustDomain string

	// SocketDir holds the sockets that Serve is given a relative path for. It is
	// made with mode 0700, and refused if others can enter it. Empty: Serve takes
	// absolute paths alone.
	SocketDir string

	// SVIDTTL and JWTTTL are the lives of what the Workload API gives; 0 is
	// DefaultSVIDTTL and DefaultJWTTTL. X509-SVIDs are renewed at half life.
	SVIDTTL, JWTTTL time.Duration

	// JWTIssuer is the iss claim of JWT-SVIDs; empty leaves it out. An OIDC
	// verifier needs it, together with OIDCHandler served at that URL.
	JWTIssuer string

	// Now is the clock that SVIDs are made by; nil is time.Now. Renewal runs on
	// the machine's clock.
	Now func() time.Time
}

// Authority makes SVIDs. It is safe for concurrent use.
type Authority struct {
	cfg    Config
	domain spiffeid.TrustDomain
	ca     *x509.Certificate
	caKey  crypto.Signer
	jwtKey *ecdsa.PrivateKey
	jwtKID string

	servers sync.WaitGroup
	stop    chan struct{}
	stopped sync.Once

	// x509 and jwt hold our own bundle and the federated ones; they lock
	// themselves.
	x509 *x509bundle.Set
	jwt  *jwtbundle.Set

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every Rotate and Federate
}

// New makes the keys and the CA certificate.
func New(cfg Config) (*Authority, error) {
	domain, err := spiffeid.TrustDomainFromString(cfg.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("creating dev authority for %q: %w", cfg.TrustDomain, err)
	}
	if cfg.SVIDTTL == 0 {
		cfg.SVIDTTL = DefaultSVIDTTL
	}
	if cfg.JWTTTL == 0 {
		cfg.JWTTTL = DefaultJWTTTL
	}
	if cfg.SVIDTTL < time.Second || cfg.JWTTTL < time.Second {
		return nil, fmt.Errorf("creating dev authority for %q: a ttl is under a second", domain)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Authority{
		cfg:     cfg,
		domain:  domain,
		stop:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	if err := a.makeKeys(); err != nil {
		return nil, fmt.Errorf("creating dev authority for %q: %w", domain, err)
	}
	a.x509, a.jwt = x509bundle.NewSet(a.X509Bundle()), jwtbundle.NewSet(a.JWTBundle())
	if cfg.SocketDir != "" {
		if err := makePrivateDir(cfg.SocketDir); err != nil {
			return nil, fmt.Errorf("creating dev authority for %q: %w", domain, err)
		}
	}
	return a, nil
}

func (a *Authority) makeKeys() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if a.jwtKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	kid := make([]byte, 16)
	if _, err := rand.Read(kid); err != nil {
		return err
	}
	a.caKey, a.jwtKID = caKey, hex.EncodeToString(kid)
	now := a.cfg.Now()
	serial, err := newSerial()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"valetkey dev authority"}, CommonName: a.domain.Name()},
		URIs:                  []*url.URL{a.domain.ID().URL()},
		NotBefore:             now.Add(-caTTL), // so that tests can mint SVIDs that are over
		NotAfter:              now.Add(caTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	a.ca, err = x509.ParseCertificate(der)
	return err
}

// TrustDomain is the authority's own.
func (a *Authority) TrustDomain() spiffeid.TrustDomain { return a.domain }

// ID joins segments to an ID of this trust domain.
func (a *Authority) ID(segments ...string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(a.domain, segments...)
}

// X509SVID makes an X509-SVID for any ID, the authority's own domain or not, and
// any time within a day of the authority's start. Tests need SVIDs that are over,
// not yet valid, or claim a foreign domain; the Workload API gives none of them.
func (a *Authority) X509SVID(id spiffeid.ID, notBefore, notAfter time.Time) (*x509svid.SVID, error) {
	svid, err := a.mint(id, notBefore, notAfter, nil)
	if err != nil {
		return nil, fmt.Errorf("making X509-SVID for %q: %w", id, err)
	}
	return svid, nil
}

// MalformedX509SVID is X509SVID with the certificate changed by edit before it
// is signed, for tests of verifiers.
func (a *Authority) MalformedX509SVID(id spiffeid.ID, notBefore, notAfter time.Time, edit func(*x509.Certificate)) (*x509svid.SVID, error) {
	svid, err := a.mint(id, notBefore, notAfter, edit)
	if err != nil {
		return nil, fmt.Errorf("making malformed X509-SVID for %q: %w", id, err)
	}
	return svid, nil
}

func (a *Authority) mint(id spiffeid.ID, notBefore, notAfter time.Time, edit func(*x509.Certificate)) (*x509svid.SVID, error) {
	if id.IsZero() {
		return nil, errors.New("the SPIFFE ID is empty")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"valetkey dev"}},
		URIs:                  []*url.URL{id.URL()},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, key.Public(), a.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}, nil
}

// fresh makes the SVID that a workload gets now.
func (a *Authority) fresh(id spiffeid.ID) (*x509svid.SVID, error) {
	now := a.cfg.Now()
	return a.X509SVID(id, now.Add(-backdate), now.Add(a.cfg.SVIDTTL))
}

// X509Bundle is the authority's own, for a verifier to trust.
func (a *Authority) X509Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(a.domain, []*x509.Certificate{a.ca})
}

// JWTBundle is the authority's own. Its Marshal gives a JWKS.
func (a *Authority) JWTBundle() *jwtbundle.Bundle {
	return jwtbundle.FromJWTAuthorities(a.domain, map[string]crypto.PublicKey{a.jwtKID: a.jwtKey.Public()})
}

// Bundle is both of the authority's bundles, as Federate takes them.
func (a *Authority) Bundle() *spiffebundle.Bundle {
	bundle := spiffebundle.FromX509Bundle(a.X509Bundle())
	bundle.SetJWTAuthorities(a.JWTBundle().JWTAuthorities())
	return bundle
}

// Federate gives a foreign domain's bundle to every workload, at once.
func (a *Authority) Federate(bundle *spiffebundle.Bundle) error {
	if bundle.TrustDomain() == a.domain {
		return fmt.Errorf("federating %q: it is the authority's own trust domain", a.domain)
	}
	a.x509.Add(bundle.X509Bundle())
	a.jwt.Add(bundle.JWTBundle())
	a.Rotate()
	return nil
}

// Rotate sends every connected workload a new SVID now.
func (a *Authority) Rotate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// stale gives a channel that closes when what is read after this call has to be
// read again.
func (a *Authority) stale() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// Close stops every socket and waits.
func (a *Authority) Close() error {
	a.stopped.Do(func() { close(a.stop) })
	a.servers.Wait()
	return nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}
