package devauthority

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// workloadServer is the Workload API of one socket.
type workloadServer struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	authority *Authority
	id        spiffeid.ID
}

func (s *workloadServer) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return s.authority.push(stream.Context(), func() error {
		svid, err := s.authority.fresh(s.id)
		if err != nil {
			return err
		}
		chain, key, err := svid.MarshalRaw()
		if err != nil {
			return err
		}
		bundles := s.authority.rawX509Bundles()
		delete(bundles, s.authority.domain.IDString()) // it goes with the SVID
		return stream.Send(&workload.X509SVIDResponse{
			Svids: []*workload.X509SVID{{
				SpiffeId:    s.id.String(),
				X509Svid:    chain,
				X509SvidKey: key,
				Bundle:      s.authority.ca.Raw,
			}},
			FederatedBundles: bundles,
		})
	})
}

func (s *workloadServer) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return s.authority.push(stream.Context(), func() error {
		return stream.Send(&workload.X509BundlesResponse{Bundles: s.authority.rawX509Bundles()})
	})
}

func (s *workloadServer) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return s.authority.push(stream.Context(), func() error {
		bundles := make(map[string][]byte)
		for _, bundle := range s.authority.jwt.Bundles() {
			keys, err := bundle.Marshal()
			if err != nil {
				return err
			}
			bundles[bundle.TrustDomain().IDString()] = keys
		}
		return stream.Send(&workload.JWTBundlesResponse{Bundles: bundles})
	})
}

func (s *workloadServer) FetchJWTSVID(_ context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	switch {
	case len(req.GetAudience()) == 0:
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	case req.GetSpiffeId() != "" && req.GetSpiffeId() != s.id.String():
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	token, err := s.authority.freshJWT(s.id, req.GetAudience())
	if err != nil {
		return nil, err
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: s.id.String(), Svid: token}}}, nil
}

func (s *workloadServer) ValidateJWTSVID(_ context.Context, req *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if req.GetAudience() == "" {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	svid, err := jwtsvid.ParseAndValidate(req.GetSvid(), s.authority.jwt, []string{req.GetAudience()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	claims, err := structpb.NewStruct(svid.Claims)
	if err != nil {
		return nil, err
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String(), Claims: claims}, nil
}

// push sends now, at every change, and at half of an SVID's life.
func (a *Authority) push(ctx context.Context, send func() error) error {
	ticker := time.NewTicker(a.cfg.SVIDTTL / 2)
	defer ticker.Stop()
	for {
		changed := a.stale()
		if err := send(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rawX509Bundles has the Workload API's form: DER, one after another.
func (a *Authority) rawX509Bundles() map[string][]byte {
	bundles := make(map[string][]byte)
	for _, bundle := range a.x509.Bundles() {
		var raw []byte
		for _, certificate := range bundle.X509Authorities() {
			raw = append(raw, certificate.Raw...)
		}
		bundles[bundle.TrustDomain().IDString()] = raw
	}
	return bundles
}

func requireHeader(ctx context.Context) error {
	if values := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}

func requireHeaderUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := requireHeader(ctx); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func requireHeaderStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := requireHeader(stream.Context()); err != nil {
		return err
	}
	return handler(srv, stream)
}
