package main

import (
	"bytes"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestDial goes the way of the binary: an SVID from a real Workload API, mutual
// TLS, and the broker held to its ID.
func TestDial(t *testing.T) {
	authority, err := devauthority.New(devauthority.Config{TrustDomain: "dev.example", SocketDir: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	agent := spiffeid.RequireFromString("spiffe://dev.example/agent/ann/1")
	broker := spiffeid.RequireFromString("spiffe://dev.example/valetkeyd")
	if err := authority.Serve(t.Context(), "agent.sock", agent); err != nil {
		t.Fatal(err)
	}
	socket, err := authority.SocketPath("agent.sock")
	if err != nil {
		t.Fatal(err)
	}
	source := authority.Source(broker)
	conf := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(agent))
	conf.MinVersion = tls.VersionTLS13
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	valetkeyv1.RegisterAgentServiceServer(srv, &edge{})
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)

	for _, tt := range []struct {
		name, id string
		code     int
	}{
		{"the broker's ID", broker.String(), exitOK},
		{"any member of the trust domain", "", exitOK},
		{"another ID", "spiffe://dev.example/agent/ann/1", exitError},
		{"another trust domain", "spiffe://other.example/valetkeyd", exitError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := []string{"task", "open", "look", "-e", "dev", "--broker", lis.Addr().String(), "--workload-api", "unix://" + socket, "--timeout", "20s"}
			if tt.id != "" {
				args = append(args, "--broker-id", tt.id)
			}
			code := run(t.Context(), args, &stdout, &stderr, nil)
			if code != tt.code || (code == exitOK) != strings.Contains(stdout.String(), taskID) {
				t.Errorf("exit %d, want %d; stdout %q, stderr %q", code, tt.code, stdout.String(), stderr.String())
			}
		})
	}
}
