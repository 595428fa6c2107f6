package identity_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

const (
	ourDomain = "example.org"
	audience  = "valetkey.example.org"
)

func newAuthority(t testing.TB, domain string) *devauthority.Authority {
	t.Helper()
	a, err := devauthority.New(devauthority.Config{TrustDomain: domain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newAuthenticator(t testing.TB, src identity.Source, edit func(*identity.Config)) *identity.Authenticator {
	t.Helper()
	cfg := identity.Config{
		TrustDomains: []string{ourDomain},
		PathTemplate: "/agent/{user}/{session}",
		Operators:    []string{"spiffe://example.org/operator/ann"},
		AllowJWT:     true,
		JWTAudience:  audience,
	}
	if edit != nil {
		edit(&cfg)
	}
	a, err := identity.New(cfg, src, src)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustID(t testing.TB, text string) spiffeid.ID {
	t.Helper()
	id, err := spiffeid.FromString(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// verdict is what one call was answered.
type verdict struct {
	agent identity.Agent
	err   error
}

// listener is a real gRPC server whose interceptor authenticates every call.
type listener struct {
	addr     string
	verdicts chan verdict
}

func listen(t *testing.T, auth *identity.Authenticator, config *tls.Config) *listener {
	t.Helper()
	l := &listener{verdicts: make(chan verdict, 16)}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			agent, err := auth.Authenticate(ctx)
			l.verdicts <- verdict{agent, err}
			if err != nil {
				return nil, err
			}
			return next(ctx, req)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = lis.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l
}

// dial gives a connection that presents src's SVID and expects serverID.
func (l *listener) dial(t *testing.T, src identity.Source, serverID spiffeid.ID) healthpb.HealthClient {
	t.Helper()
	return l.dialTLS(t, tlsconfig.MTLSClientConfig(src, src, tlsconfig.AuthorizeID(serverID)))
}

func (l *listener) dialTLS(t *testing.T, config *tls.Config) healthpb.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+l.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return healthpb.NewHealthClient(conn)
}

// check calls once and gives the interceptor's verdict.
func (l *listener) check(ctx context.Context, t *testing.T, client healthpb.HealthClient) verdict {
	t.Helper()
	_, callErr := client.Check(ctx, &healthpb.HealthCheckRequest{})
	select {
	case v := <-l.verdicts:
		if (callErr == nil) != (v.err == nil) {
			t.Fatalf("caller saw %v, interceptor %v", callErr, v.err)
		}
		return v
	default:
		t.Fatalf("the call did not pass the handshake: %v", callErr)
		return verdict{}
	}
}

func hour() (now, later time.Time) {
	now = time.Now()
	return now.Add(-time.Minute), now.Add(time.Hour)
}
