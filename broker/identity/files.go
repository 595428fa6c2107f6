package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// recheck is how often, at most, a use of the source looks at the files.
const recheck = time.Second

var errClosed = errors.New("identity source is closed")

// fileSource reads an SVID and bundles that something else keeps fresh.
type fileSource struct {
	cfg SourceConfig

	mu      sync.Mutex // locks all below
	closed  bool
	checked time.Time
	stamp   string // of the files that held was read from
	refused string // stamp of a set that was left aside
	held    heldFiles
}

// heldFiles is what was read together, and is replaced together.
type heldFiles struct {
	svid *x509svid.SVID
	x509 *x509bundle.Set
	jwt  *jwtbundle.Set
}

func (h heldFiles) add(bundle *spiffebundle.Bundle) {
	h.x509.Add(bundle.X509Bundle())
	h.jwt.Add(bundle.JWTBundle())
}

func openFiles(cfg SourceConfig) (Source, error) {
	s := &fileSource{cfg: cfg}
	if cfg.CertFile == "" || cfg.KeyFile == "" || cfg.BundleFile == "" {
		return nil, errors.New("opening identity source: cert, key and bundle file are needed together")
	}
	if err := s.readLocked(); err != nil {
		return nil, fmt.Errorf("opening identity source: %w", err)
	}
	return s, nil
}

// readLocked replaces held, or leaves it as it is on any fault.
func (s *fileSource) readLocked() error {
	// Stamped first: a change during the reading is seen at the next look.
	stamp := s.stampFiles()
	svid, err := x509svid.Load(s.cfg.CertFile, s.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("reading SVID %q: %w", s.cfg.CertFile, err)
	}
	held := heldFiles{svid: svid, x509: x509bundle.NewSet(), jwt: jwtbundle.NewSet()}
	own, err := readBundle(svid.ID.TrustDomain(), s.cfg.BundleFile)
	if err != nil {
		return err
	}
	held.add(own)
	for name, file := range s.cfg.FederatedBundleFiles {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return fmt.Errorf("reading federated trust domain %q: %w", name, err)
		}
		if domain == svid.ID.TrustDomain() {
			return fmt.Errorf("reading federated trust domain %q: it is our own", name)
		}
		bundle, err := readBundle(domain, file)
		if err != nil {
			return err
		}
		held.add(bundle)
	}
	s.held, s.stamp = held, stamp
	return nil
}

func readBundle(domain spiffeid.TrustDomain, file string) (*spiffebundle.Bundle, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading bundle of %q: %w", domain, err)
	}
	var bundle *spiffebundle.Bundle
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		bundle, err = spiffebundle.Parse(domain, data)
	} else {
		var pem *x509bundle.Bundle
		if pem, err = x509bundle.Parse(domain, data); err == nil {
			bundle = spiffebundle.FromX509Bundle(pem)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("parsing bundle file %q of %q: %w", file, domain, err)
	}
	if bundle.Empty() {
		return nil, fmt.Errorf("parsing bundle file %q of %q: it holds no authority", file, domain)
	}
	return bundle, nil
}

// stampFiles changes whenever a file was replaced or written to.
func (s *fileSource) stampFiles() string {
	var b bytes.Buffer
	names := []string{s.cfg.CertFile, s.cfg.KeyFile, s.cfg.BundleFile}
	for _, domain := range slices.Sorted(maps.Keys(s.cfg.FederatedBundleFiles)) {
		names = append(names, s.cfg.FederatedBundleFiles[domain])
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		fmt.Fprintf(&b, "%s: %d %d\n", name, info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}

// fresh gives what the files hold. A set that cannot be read leaves the last
// one in force: a writer replaces the files one by one, and an old SVID ends by
// its own expiry.
func (s *fileSource) fresh() (heldFiles, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return heldFiles{}, errClosed
	}
	if now := time.Now(); now.Sub(s.checked) >= recheck {
		s.checked = now
		if stamp := s.stampFiles(); stamp != s.stamp {
			s.rereadLocked(stamp)
		}
	}
	return s.held, nil
}

// rereadLocked says once of each faulty set that it is faulty.
func (s *fileSource) rereadLocked(stamp string) {
	if err := s.readLocked(); err != nil && stamp != s.refused {
		s.refused = stamp
		s.cfg.Log.Warn("changed SVID files are left aside", slog.String("cause", err.Error()))
	}
}

func (s *fileSource) GetX509SVID() (*x509svid.SVID, error) {
	held, err := s.fresh()
	return held.svid, err
}

func (s *fileSource) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	held, err := s.fresh()
	if err != nil {
		return nil, err
	}
	return held.x509.GetX509BundleForTrustDomain(domain)
}

func (s *fileSource) GetJWTBundleForTrustDomain(domain spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	held, err := s.fresh()
	if err != nil {
		return nil, err
	}
	return held.jwt.GetJWTBundleForTrustDomain(domain)
}

func (s *fileSource) FetchJWTSVID(_ context.Context, audience string) (*jwtsvid.SVID, error) {
	return nil, fmt.Errorf("fetching JWT-SVID for audience %q: %w", audience, ErrNoJWT)
}

func (s *fileSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
