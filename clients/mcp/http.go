package mcp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/clients/helper/serve"
)

// MCPPath is where the server answers over HTTP.
const MCPPath = "/mcp"

// HTTPConfig says who may ask over HTTP.
type HTTPConfig struct {
	// Token is what callers send as "Authorization: Bearer", 26 characters at least; see
	// NewToken. Empty on a Unix socket alone, where the kernel says who asks.
	Token string
	// Idle ends a session that nobody has asked in for so long, and with it what
	// it had: an hour when zero.
	Idle time.Duration
}

const minToken = 26

// ServeHTTP serves any number of clients of this process's own user until ctx ends, with
// the streamable HTTP transport at MCPPath. It closes the listener. Close ends the
// sessions.
func (s *Server) ServeHTTP(ctx context.Context, lis *serve.Local, cfg HTTPConfig) error {
	if len(cfg.Token) < minToken && (cfg.Token != "" || !lis.IsSocket()) {
		return errors.Join(fmt.Errorf("the bearer token has %d characters, and %d are the least", len(cfg.Token), minToken), lis.Close())
	}
	closed := lis.Serve(s.cfg.Log, s.handler(cfg))
	<-ctx.Done()
	return closed() // streams would not end by themselves
}

func (s *Server) handler(cfg HTTPConfig) http.Handler {
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
	return tokenGate{needed: cfg.Token != "", token: sha256.Sum256([]byte(cfg.Token)), log: s.cfg.Log, next: mux}
}

// tokenGate asks for the bearer token. Another user, a browser or a proxy has not come
// so far: see serve.Local.
type tokenGate struct {
	needed bool
	token  [sha256.Size]byte
	log    *slog.Logger
	next   http.Handler
}

func (g tokenGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.passes(r.Header.Values("Authorization")) {
		const why = "send the token of this server's token file as Authorization: Bearer, once; each start of the server makes a new one"
		g.log.WarnContext(r.Context(), "an MCP request was refused", slog.String("from", r.RemoteAddr), slog.String("error", why))
		w.Header().Set("WWW-Authenticate", `Bearer realm="valetkey"`)
		http.Error(w, why, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	g.next.ServeHTTP(w, r)
}

func (g tokenGate) passes(sent []string) bool {
	if !g.needed {
		return true
	}
	if len(sent) != 1 {
		return false // two are not one of them
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	got := sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(got[:], g.token[:]) == 1
}
