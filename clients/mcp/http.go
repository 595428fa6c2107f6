package mcp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// MCPPath is where the server answers over HTTP.
const MCPPath = "/mcp"

// HTTPConfig says who may ask over HTTP.
type HTTPConfig struct {
	// Token is what callers send as "Authorization: Bearer". Required, and 26
	// characters at least; see ReadToken.
	Token string
	// Idle ends a session that nobody has asked in for so long, and with it what
	// it had: an hour when zero.
	Idle time.Duration
}

const minToken = 26

// ServeHTTP serves any number of clients on a loopback listener, until ctx ends,
// with the streamable HTTP transport at MCPPath. It closes the listener. Close
// ends the sessions.
func (s *Server) ServeHTTP(ctx context.Context, lis net.Listener, cfg HTTPConfig) error {
	handler, err := s.handler(lis.Addr(), cfg)
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })() // streams would not end by themselves
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving MCP on %s: %w", lis.Addr(), err)
	}
	return nil
}

func (s *Server) handler(addr net.Addr, cfg HTTPConfig) (http.Handler, error) {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address: MCP is served on loopback only", addr)
	}
	if len(cfg.Token) < minToken {
		return nil, fmt.Errorf("the bearer token has %d characters, and %d are the least", len(cfg.Token), minToken)
	}
	if cfg.Idle <= 0 {
		cfg.Idle = time.Hour
	}
	// Sessions are kept: handles live in them.
	inner := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s.mcp }, &sdk.StreamableHTTPOptions{
		SessionTimeout: cfg.Idle, MaxRequestBodyBytes: maxMessage,
	})
	mux := http.NewServeMux()
	mux.HandleFunc(MCPPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			s.cut(r.Header.Get("Mcp-Session-Id")) // the transport would wait for its calls
		}
		inner.ServeHTTP(w, r)
	})
	return gate{
		hosts: []string{at.String(), fmt.Sprintf("localhost:%d", at.Port())},
		token: sha256.Sum256([]byte(cfg.Token)), log: s.cfg.Log, next: mux,
	}, nil
}

// gate is what every request passes first.
type gate struct {
	hosts []string
	token [sha256.Size]byte
	log   *slog.Logger
	next  http.Handler
}

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code, why := g.refuses(r); code != 0 {
		g.log.WarnContext(r.Context(), "an MCP request was refused", slog.String("from", r.RemoteAddr), slog.String("error", why))
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valetkey"`)
		}
		http.Error(w, why, code)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	g.next.ServeHTTP(w, r)
}

// refuses says why a request goes no further. A page in a browser that has its
// own name point here comes with that name (DNS rebinding), and all that browsers
// send has Origin or Sec-Fetch-Site.
func (g gate) refuses(r *http.Request) (code int, why string) {
	switch {
	case !slices.Contains(g.hosts, r.Host):
		return http.StatusForbidden, "the Host is not this address: use the address as it was given"
	case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
		return http.StatusForbidden, "browsers get nothing here"
	case r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "":
		return http.StatusForbidden, "this came through a proxy: ask directly"
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(token))
	if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare(got[:], g.token[:]) != 1 {
		return http.StatusUnauthorized, "send the token of this server's token file as Authorization: Bearer"
	}
	return 0, ""
}
