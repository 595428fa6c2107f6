package mcp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/clients/helper"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Config says what to serve.
type Config struct {
	// Client is the broker's. Required; the caller closes it.
	Client *valetkey.Client
	// Shelf serves credentials where tools look for them. Required; the caller
	// closes it.
	Shelf *helper.Shelf
	// Run turns run_command on. Nil: the tool does not exist.
	Run *Run
	// Approvals tells agents where people approve, such as a URL. Empty: they are
	// told to ask the operator.
	Approvals string
	// Version is this program's, for the protocol's greeting.
	Version string
	// Log is for the operator; slog.Default() when nil.
	Log *slog.Logger
}

// Limits of one session and of all.
const (
	maxSessions = 64
	maxTasks    = 16
	maxAccess   = 64
	// maxArguments is the most bytes of one call's arguments.
	maxArguments = 64 << 10
	// maxMessage is the most bytes of one message, larger than what is refused
	// politely and small enough to read.
	maxMessage = 16 << 20
	// endTimeout bounds how long a session's end waits for the broker. What is
	// not closed by then dies at its deadline.
	endTimeout = 5 * time.Second
)

const instructions = `valetkey gives you access for one task at a time, for minutes, and never shows you a secret.
1. open_task says what you work on. 2. list_scopes, explain and can say what there is and what it would give.
3. request_access gives a handle and the environment for your own shell (such as AWS_CONFIG_FILE and AWS_PROFILE).
4. release or close_task when you are done. If people have to approve, you get a handle anyway: tell your user whom to ask,
go on with other work, and look again with access_status. A denial stays a denial: ask for something narrower.`

// Server answers MCP clients. It is safe for concurrent use.
type Server struct {
	cfg Config
	mcp *sdk.Server

	mu       sync.Mutex
	sessions map[*sdk.ServerSession]*session // locked by mu
	closed   bool                            // locked by mu
	ending   sync.WaitGroup                  // sessions that are not over; added to under mu

	tier  tierCache
	names names
}

// New makes a server. Close it when nothing is served any more.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Client == nil:
		return nil, errors.New("no broker to ask")
	case cfg.Shelf == nil:
		return nil, errors.New("no shelf: without one nobody could use what is granted")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Run != nil {
		run, err := cfg.Run.prepared()
		if err != nil {
			return nil, err
		}
		cfg.Run = &run
	}
	s := &Server{cfg: cfg, sessions: map[*sdk.ServerSession]*session{}}
	s.mcp = sdk.NewServer(&sdk.Implementation{Name: "valetkey", Title: "valetkey", Version: cfg.Version}, &sdk.ServerOptions{
		Instructions: instructions,
		Capabilities: &sdk.ServerCapabilities{},
		SchemaCache:  sdk.NewSchemaCache(),
	})
	if err := s.addTools(); err != nil {
		return nil, err
	}
	s.mcp.AddReceivingMiddleware(s.receive)
	return s, nil
}

// ServeStdio serves one client over newline-delimited JSON until it leaves or
// ctx ends, and then ends what it had.
func (s *Server) ServeStdio(ctx context.Context, in io.ReadCloser, out io.WriteCloser) error {
	return s.Serve(ctx, &sdk.IOTransport{Reader: in, Writer: out, MaxLineLength: maxMessage})
}

// Serve serves one client over any transport of the SDK.
func (s *Server) Serve(ctx context.Context, t sdk.Transport) error {
	err := s.mcp.Run(ctx, t)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		err = nil // the client left, or we were told to
	}
	return err
}

// Close ends all sessions, and with them their tasks.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	all := slices.Collect(maps.Keys(s.sessions))
	s.mu.Unlock()
	var errs []error
	for _, ss := range all {
		errs = append(errs, ss.Close())
	}
	s.ending.Wait()
	return errors.Join(errs...)
}

// session finds the state of a client's session, or begins it.
func (s *Server) session(ss *sdk.ServerSession) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions[ss]; x != nil {
		return x, nil
	}
	switch {
	case s.closed:
		return nil, refuse(ReasonUnavailable, "the valetkey MCP server is stopping")
	case len(s.sessions) >= maxSessions:
		return nil, refuse(ReasonLimit, "%d sessions are open", maxSessions)
	}
	x := newSession(s)
	s.sessions[ss] = x
	s.ending.Add(1)
	go func() {
		defer s.ending.Done()
		_ = ss.Wait() // how it ended changes nothing
		x.end()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, ss)
	}()
	return x, nil
}
