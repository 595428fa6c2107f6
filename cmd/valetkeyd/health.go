package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// livenessService is what to ask grpc.health.v1 for to learn whether the process
// runs. All other names, the empty one too, tell whether to send it calls.
const livenessService = "liveness"

// followEvery is how often readiness is looked at.
const followEvery = time.Second

// readiness says over gRPC and HTTP whether to send this broker calls. It is safe
// for concurrent use.
type readiness struct {
	grpc *health.Server
	// ready is nil while the broker can serve.
	ready func() error

	mu       sync.Mutex
	draining bool // guarded by mu
	serving  bool // guarded by mu
}

func newReadiness(ready func() error) *readiness {
	r := &readiness{grpc: health.NewServer(), ready: ready}
	r.grpc.SetServingStatus(livenessService, healthpb.HealthCheckResponse_SERVING)
	r.update()
	return r
}

// follow looks until ctx is done.
func (r *readiness) follow(ctx context.Context) {
	every := time.NewTicker(followEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			r.update()
		}
	}
}

func (r *readiness) update() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving = !r.draining && r.ready() == nil
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if r.serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range []string{"", valetkeyv1.AgentService_ServiceDesc.ServiceName, valetkeyv1.OperatorService_ServiceDesc.ServiceName} {
		r.grpc.SetServingStatus(name, status)
	}
}

// drain says no from now on.
func (r *readiness) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.update()
}

// handle serves /healthz (the process runs) and /readyz (send it calls), for
// those who cannot speak mTLS.
func (r *readiness) handle(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		serving, draining := r.serving, r.draining
		r.mu.Unlock()
		switch {
		case serving:
			say(w, http.StatusOK, "ok")
		case draining:
			say(w, http.StatusServiceUnavailable, "draining")
		default:
			say(w, http.StatusServiceUnavailable, "the store refuses writes; the log has the cause")
		}
	})
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // a client that went away is told nothing
}
