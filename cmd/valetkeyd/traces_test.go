package main

import (
	"context"
	"net"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

type spans struct {
	collector.UnimplementedTraceServiceServer
	got chan string
}

func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, rs := range r.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				s.got <- span.GetName()
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func start(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	register(s)
	go func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(s.Stop)
	return l.Addr().String(), s.GracefulStop
}

func TestCallsAreTraced(t *testing.T) {
	got := &spans{got: make(chan string, 16)}
	at, _ := start(t, func(s *grpc.Server) { collector.RegisterTraceServiceServer(s, got) })
	opt, stop, err := tracing(t.Context(), TracesConfig{Endpoint: at, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	srv, drained := start(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) }, opt)
	conn, err := grpc.NewClient(srv, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	drained()                                 // a span ends after the caller has its answer
	if err := stop(t.Context()); err != nil { // which flushes
		t.Fatal(err)
	}
	select {
	case name := <-got.got:
		if !strings.Contains(name, "Health") {
			t.Errorf("span %q", name)
		}
	default:
		t.Error("no span came")
	}
}
