package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// workloadSource watches a Workload API.
type workloadSource struct {
	client *workloadapi.Client
	x509   *workloadapi.X509Source
	jwt    *workloadapi.JWTSource
	// subject is zero where the Workload API's first SVID is ours.
	subject spiffeid.ID

	closing  sync.Once
	closeErr error
}

func openWorkload(ctx context.Context, cfg SourceConfig) (Source, error) {
	last := &lastComplaint{log: cfg.Log}
	s, err := dialWorkload(ctx, cfg, last)
	if err != nil {
		return nil, fmt.Errorf("opening Workload API %q: %w", cfg.WorkloadAPI, errors.Join(err, last.get()))
	}
	return s, nil
}

func dialWorkload(ctx context.Context, cfg SourceConfig, last *lastComplaint) (_ *workloadSource, err error) {
	s := new(workloadSource)
	if cfg.ID != "" {
		if s.subject, err = spiffeid.FromString(cfg.ID); err != nil {
			return nil, fmt.Errorf("reading own ID %q: %w", cfg.ID, err)
		}
	}
	// The client outlives this call, so it must not die with ctx.
	s.client, err = workloadapi.New(context.WithoutCancel(ctx),
		workloadapi.WithAddr(cfg.WorkloadAPI), workloadapi.WithLogger(last))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	options := []workloadapi.X509SourceOption{workloadapi.WithClient(s.client)}
	if !s.subject.IsZero() {
		options = append(options, workloadapi.WithDefaultX509SVIDPicker(s.pick))
	}
	if s.x509, err = workloadapi.NewX509Source(ctx, options...); err != nil {
		return nil, fmt.Errorf("waiting for an X509-SVID: %w", err)
	}
	if s.jwt, err = workloadapi.NewJWTSource(ctx, workloadapi.WithClient(s.client)); err != nil {
		return nil, fmt.Errorf("waiting for JWT bundles: %w", err)
	}
	// SPIRE tells an agent of a new entry only at its next sync: our ID may come
	// later than others.
	for {
		if _, missing := s.x509.GetX509SVID(); missing == nil {
			return s, nil
		}
		if err = s.x509.WaitUntilUpdated(ctx); err != nil {
			return nil, fmt.Errorf("waiting for the X509-SVID of %q: %w", s.subject, err)
		}
	}
}

func (s *workloadSource) pick(svids []*x509svid.SVID) *x509svid.SVID {
	for _, svid := range svids {
		if svid.ID == s.subject {
			return svid
		}
	}
	return nil
}

func (s *workloadSource) GetX509SVID() (*x509svid.SVID, error) { return s.x509.GetX509SVID() }

func (s *workloadSource) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.x509.GetX509BundleForTrustDomain(domain)
}

func (s *workloadSource) GetJWTBundleForTrustDomain(domain spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	return s.jwt.GetJWTBundleForTrustDomain(domain)
}

func (s *workloadSource) FetchJWTSVID(ctx context.Context, audience string) (*jwtsvid.SVID, error) {
	svid, err := s.jwt.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: s.subject})
	if err != nil {
		return nil, fmt.Errorf("fetching JWT-SVID for audience %q: %w", audience, err)
	}
	return svid, nil
}

// Close cancels the watches and waits for them. It is safe to repeat.
func (s *workloadSource) Close() error {
	s.closing.Do(func() { s.closeErr = s.closeOnce() })
	return s.closeErr
}

func (s *workloadSource) closeOnce() error {
	var errs []error
	if s.jwt != nil {
		errs = append(errs, s.jwt.Close())
	}
	if s.x509 != nil {
		errs = append(errs, s.x509.Close())
	}
	return errors.Join(append(errs, s.client.Close())...)
}

// lastComplaint keeps the Workload API client's last error: while Open waits,
// it is the only word on why ("no identity issued", no such socket). Later ones
// are for the log.
type lastComplaint struct {
	log *slog.Logger

	mu  sync.Mutex
	err error // locked by mu
}

func (l *lastComplaint) Debugf(string, ...any) {}
func (l *lastComplaint) Infof(string, ...any)  {}
func (l *lastComplaint) Warnf(string, ...any)  {}

func (l *lastComplaint) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.log.Warn("Workload API complains", slog.String("cause", text))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = fmt.Errorf("last answer: %s", text)
}

func (l *lastComplaint) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
