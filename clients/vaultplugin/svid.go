package vaultplugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// errOwnSVID means that the broker was asked nothing, since it would refuse the
// plugin itself. No caller of Vault's can help that.
var errOwnSVID = errors.New("the plugin has no SVID of its own that is good")

// whyLimit bounds asking a Workload API what it has against the plugin.
const whyLimit = time.Second

// fetch waits for an SVID to come, as long as ctx lets it: an agent learns of a new
// entry some seconds late.
func (c *config) fetch(ctx context.Context) (*workloadapi.X509Source, error) {
	addr := workloadapi.WithAddr(c.WorkloadAPI)
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(addr))
	if err == nil {
		return source, nil
	}
	// That is the end of our patience alone; the Workload API itself says why.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyLimit)
	defer cancel()
	if _, why := workloadapi.FetchX509SVID(ctx, addr); why != nil {
		err = why
	}
	return nil, fmt.Errorf("%s gives none: is the SPIFFE agent up, and is the plugin's own program registered with it? %w", c.WorkloadAPI, err)
}

// identified is nil while the plugin's SVID is good. An SVID whose agent is gone, or
// whose entry was deleted, stays until its end. A connection that was made before
// that end would be told so by the broker; a new one is cut off in the handshake,
// which tells nobody anything.
func (l *link) identified(now time.Time) error {
	svid, err := l.identity.GetX509SVID()
	if err != nil {
		return fmt.Errorf("%w: %w", errOwnSVID, err)
	}
	if end := svid.Certificates[0].NotAfter; now.After(end) {
		from := l.cfg.WorkloadAPI
		if from == "" {
			from = l.cfg.CertFile
		}
		return fmt.Errorf("%w: that of %s ended at %s, and %s gives no newer one: is the SPIFFE agent up, is the plugin still registered with it, and is this machine's clock right?",
			errOwnSVID, svid.ID, stamp(end), from)
	}
	return nil
}

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
