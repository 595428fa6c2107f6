package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// gate is what every request passes first. Whose a connection is has been asked
// before.
type gate struct {
	// hosts are the names that a request may call the address by: a page that has
	// its own name point here comes with that name (DNS rebinding).
	hosts []string
	log   *complaints
}

// wrap refuses browsers, proxies and wrong names, and says why.
func (g gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code, why := g.refuses(r); code != 0 {
			g.log.say(r.Host, r.RemoteAddr, errors.New(why))
			answerError(w, code, why)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g gate) refuses(r *http.Request) (int, string) {
	if len(g.hosts) > 0 && !slices.Contains(g.hosts, r.Host) {
		return http.StatusForbidden, "the Host is not this address: use the address as it was given"
	}
	// A page's script sends Origin; any request of a browser has Sec-Fetch-Site.
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return http.StatusForbidden, "browsers get nothing here"
	}
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return http.StatusForbidden, "this came through a proxy: ask directly"
	}
	// An upgraded connection is out of the server's hands, and would outlive it.
	if r.Header.Get("Upgrade") != "" {
		return http.StatusBadRequest, "nothing here has another protocol: ask without Upgrade"
	}
	return 0, ""
}

// answerError is the error body of the container credentials endpoint, which
// AWS's SDKs show to people.
func answerError(w http.ResponseWriter, code int, message string) {
	for name, values := range errorHeader() {
		w.Header()[name] = values
	}
	w.WriteHeader(code)
	body, err := errorBody(code, message)
	if err == nil {
		_, _ = body.WriteTo(w) // the caller is gone otherwise
	}
}

func errorHeader() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
}

func errorBody(code int, message string) (*bytes.Buffer, error) {
	var out bytes.Buffer
	return &out, json.NewEncoder(&out).Encode(map[string]string{"code": http.StatusText(code), "message": message})
}

// server is a listener with what it serves.
type server struct {
	lis  net.Listener
	srv  *http.Server
	done chan struct{} // closed when the listener is
}

// listenLoopback listens on a loopback address of TCP, and on no other.
func listenLoopback(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("%q is no loopback address with a port, such as 127.0.0.1:0: credentials are served on loopback only", addr)
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return lis, nil
}

// hostsOf are the names of a loopback listener.
func hostsOf(lis net.Listener) []string {
	at, err := netip.ParseAddrPort(lis.Addr().String())
	if err != nil {
		return nil
	}
	return []string{at.String(), fmt.Sprintf("localhost:%d", at.Port())}
}

// serve serves h to p behind a gate until close.
func serve(lis net.Listener, p peers, log *slog.Logger, h http.Handler) *server {
	refusals := newComplaints(log)
	g := gate{log: refusals}
	if _, ok := lis.(*net.TCPListener); ok {
		g.hosts = hostsOf(lis)
	}
	s := &server{lis: lis, done: make(chan struct{}), srv: &http.Server{
		Handler: g.wrap(h), ConnState: make(visitors, maxVisitors).count, ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		if err := s.srv.Serve(admit(lis, p, refusals)); !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(context.Background(), "a local listener ended", slog.String("error", err.Error()))
		}
	}()
	return s
}

// close ends the listener and every connection. Where it comes before the server
// began, it is the server that closes the listener.
func (s *server) close() error {
	err := s.srv.Close()
	<-s.done
	return err
}
