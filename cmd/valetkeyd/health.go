package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/valetkey/valetkey/broker/store"
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
	// ready is nil while the broker can mint, and operable while operators' calls can be
	// carried out.
	ready, operable func() error

	mu       sync.Mutex
	draining bool  // guarded by mu
	cause    error // why it is not ready; guarded by mu
}

func newReadiness(ready, operable func() error) *readiness {
	r := &readiness{grpc: health.NewServer(), ready: ready, operable: operable}
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
	r.cause = r.ready()
	status := func(cause error) healthpb.HealthCheckResponse_ServingStatus {
		if r.draining || cause != nil {
			return healthpb.HealthCheckResponse_NOT_SERVING
		}
		return healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range []string{"", valetkeyv1.AgentService_ServiceDesc.ServiceName} {
		r.grpc.SetServingStatus(name, status(r.cause))
	}
	r.grpc.SetServingStatus(valetkeyv1.OperatorService_ServiceDesc.ServiceName, status(r.operable()))
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
		cause, draining := r.cause, r.draining
		r.mu.Unlock()
		switch {
		case draining:
			say(w, http.StatusServiceUnavailable, "draining")
		case cause == nil:
			say(w, http.StatusOK, "ok")
		case errors.Is(cause, store.ErrDamaged):
			say(w, http.StatusServiceUnavailable, "the store is damaged, and nothing is minted; the log has the cause")
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
