package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/helper/files"
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
			AnswerError(w, code, why)
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
	if sent(r, "Origin", "Sec-Fetch-Site") {
		return http.StatusForbidden, "browsers get nothing here"
	}
	if sent(r, "X-Forwarded-For", "Forwarded") {
		return http.StatusForbidden, "this came through a proxy: ask directly"
	}
	// An upgraded connection is out of the server's hands, and would outlive it.
	if sent(r, "Upgrade") {
		return http.StatusBadRequest, "nothing here has another protocol: ask without Upgrade"
	}
	return 0, ""
}

// sent says whether any of the headers came, be it empty or behind an empty one.
func sent(r *http.Request, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return len(r.Header.Values(name)) > 0 })
}

// AnswerError is the error body of the container credentials endpoint, which
// AWS's SDKs show to people.
func AnswerError(w http.ResponseWriter, code int, message string) {
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

// Server is a listener with what it serves.
type Server struct {
	lis  *listen.Local
	srv  *http.Server
	done chan struct{} // closed when the listener is
}

// hostsOf are the names of a loopback listener.
func hostsOf(lis *listen.Local) []string {
	at, err := netip.ParseAddrPort(lis.Addr().String())
	if err != nil {
		return nil
	}
	return []string{at.String(), fmt.Sprintf("localhost:%d", at.Port())}
}

// Start serves h to p behind a gate until Close.
func Start(lis *listen.Local, p listen.Peers, log *slog.Logger, h http.Handler) *Server {
	refusals, budget := newComplaints(log), listen.Table().Local
	g := gate{log: refusals}
	if lis.Addr().Network() == "tcp" {
		g.hosts = hostsOf(lis)
	}
	s := &Server{lis: lis, done: make(chan struct{}), srv: budget.Server(g.wrap(h))}
	s.srv.ConnState, s.srv.ErrorLog = make(visitors, budget.All).count, slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	go func() {
		defer close(s.done)
		if err := s.srv.Serve(lis.Admit(p, newStrangers(refusals).refuse)); !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(context.Background(), "a local listener ended", slog.String("error", err.Error()))
		}
	}()
	return s
}

// OnLoopback starts h on a loopback address; an empty one is a port that is free.
func OnLoopback(address string, p listen.Peers, log *slog.Logger, h http.Handler) (*Server, error) {
	lis, err := listen.Loopback(address)
	if err != nil {
		return nil, err
	}
	return Start(lis, p, log, h), nil
}

// OnSocket starts h on a socket that this user alone can open, in a folder of its own.
func OnSocket(path string, p listen.Peers, log *slog.Logger, h http.Handler) (*Server, error) {
	lis, err := files.Socket(path)
	if err != nil {
		return nil, err
	}
	return Start(lis, p, log, h), nil
}

// Addr is the host and port, or the socket's path.
func (s *Server) Addr() string { return s.lis.Addr().String() }

// URL is where a path of a loopback address is.
func (s *Server) URL(path string) string { return "http://" + s.Addr() + path }

// Close ends the listener and every connection. Where it comes before the server
// began, it is the server that closes the listener.
func (s *Server) Close() error {
	err := s.srv.Close()
	<-s.done
	return err
}
