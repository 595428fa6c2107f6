package main

import (
	"bytes"
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Every command that changes something sends a fresh key: a connection that is
// lost and made again then repeats the call, and does not make another.
func TestChangesSendFreshKeys(t *testing.T) {
	var keys []string
	srv := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if _, ok := req.(*valetkeyv1.GetGrantRequest); ok {
			return next(ctx, req) // a look before the call
		}
		if k, ok := req.(interface{ GetIdempotencyKey() string }); ok {
			keys = append(keys, k.GetIdempotencyKey())
		}
		return nil, status.Error(codes.FailedPrecondition, "enough")
	}))
	valetkeyv1.RegisterAgentServiceServer(srv, &edge{})
	valetkeyv1.RegisterOperatorServiceServer(srv, operators{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)
	agent := "spiffe://example.org/agent/a"
	commands := [][]string{
		{"task", "open", "p", "-e", "production"},
		{"task", "close", taskID},
		{"request", "s3-read", "--task", taskID},
		{"mint", grantID, "--no-receipt-checks"},
		{"release", grantID},
		{"revoke", grantID, "--cause", "c"},
		{"revoke", taskID, "--cause", "c"},
		{"freeze", agent, "--cause", "c"},
		{"unfreeze", agent, "--cause", "c"},
		{"reload"},
	}
	for range 2 {
		for _, args := range commands {
			var stdout, stderr bytes.Buffer
			run(t.Context(), args, &stdout, &stderr, func(opts ...valetkey.Option) (*valetkey.Client, error) {
				conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { _ = conn.Close() })
				return valetkey.New(t.Context(), append(opts, valetkey.WithConn(conn))...)
			})
		}
	}
	seen := map[string]bool{}
	for i, k := range keys {
		if len(k) < 26 || seen[k] {
			t.Errorf("call %d has the key %q", i, k)
		}
		seen[k] = true
	}
	if len(keys) != 2*len(commands) {
		t.Errorf("%d calls of %d", len(keys), 2*len(commands))
	}
}
