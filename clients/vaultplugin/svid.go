package vaultplugin

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// fileIdentity is an SVID in files, as spiffe-helper writes them: read again when
// they change. A set that does not fit together, as in the middle of a rotation, is
// left aside, and the last good one stays. It is safe for concurrent use.
type fileIdentity struct {
	certFile, keyFile, bundleFile string

	mu     sync.Mutex
	times  [3]time.Time       // of what was last read; locked by mu
	svid   *x509svid.SVID     // locked by mu
	bundle *x509bundle.Bundle // locked by mu
}

var _ interface {
	x509svid.Source
	x509bundle.Source
} = (*fileIdentity)(nil)

// GetX509SVID implements x509svid.Source.
func (f *fileIdentity) GetX509SVID() (*x509svid.SVID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readLocked(); err != nil && f.svid == nil {
		return nil, fmt.Errorf("reading the plugin's own SVID: %w", err)
	}
	return f.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (f *fileIdentity) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readLocked(); err != nil && f.bundle == nil {
		return nil, fmt.Errorf("reading the trust bundle: %w", err)
	}
	return f.bundle.GetX509BundleForTrustDomain(domain)
}

func (f *fileIdentity) readLocked() error {
	var times [3]time.Time
	for i, name := range []string{f.certFile, f.keyFile, f.bundleFile} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		times[i] = info.ModTime()
	}
	if f.svid != nil && times == f.times {
		return nil
	}
	svid, err := x509svid.Load(f.certFile, f.keyFile)
	if err != nil {
		return err
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), f.bundleFile)
	if err != nil {
		return err
	}
	if len(bundle.X509Authorities()) == 0 {
		return errors.New(f.bundleFile + " holds no certificate")
	}
	f.svid, f.bundle, f.times = svid, bundle, times
	return nil
}
