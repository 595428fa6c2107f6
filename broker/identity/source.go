package identity

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source gives the broker its own SVIDs and everybody's bundles, always the
// newest. Implementations are safe for concurrent use.
type Source interface {
	x509svid.Source
	x509bundle.Source
	jwtbundle.Source

	// FetchJWTSVID gives a JWT-SVID of the broker for one audience, or ErrNoJWT.
	FetchJWTSVID(ctx context.Context, audience string) (*jwtsvid.SVID, error)

	// Close ends the watch. Other calls fail after it.
	Close() error
}

// SourceConfig names either a Workload API or files, never both.
type SourceConfig struct {
	// WorkloadAPI is an address such as "unix:///run/spire/agent.sock".
	WorkloadAPI string

	// ID picks one of several SVIDs of this workload, for both kinds; empty is
	// the first that the Workload API gives. Not used with files.
	ID string

	// CertFile is a PEM chain, leaf first; KeyFile a PEM PKCS#8 key; BundleFile
	// the bundle of the same trust domain, as PEM certificates or as a SPIFFE
	// bundle document (JSON), which can hold JWT keys as well. They are read
	// again when they change; a set that does not fit together is left aside
	// and the last good one stays.
	CertFile, KeyFile, BundleFile string

	// Log is told when the Workload API or the files stop giving anything new; nil
	// says nothing. The last SVID stays in use until it ends.
	Log *slog.Logger

	// FederatedBundleFiles are other trust domains' bundles by domain name.
	FederatedBundleFiles map[string]string
}

// Open waits until the source holds an SVID and bundles, or ctx is done. Close
// the source when it is not needed any more; ctx bounds the opening alone.
func Open(ctx context.Context, cfg SourceConfig) (Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	files := cfg.CertFile != "" || cfg.KeyFile != "" || cfg.BundleFile != "" || len(cfg.FederatedBundleFiles) > 0
	switch {
	case cfg.WorkloadAPI != "" && files:
		return nil, errors.New("opening identity source: both a Workload API and files are configured")
	case cfg.WorkloadAPI != "":
		return openWorkload(ctx, cfg)
	case files:
		return openFiles(cfg)
	default:
		return nil, errors.New("opening identity source: neither a Workload API nor files are configured")
	}
}
