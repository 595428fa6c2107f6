package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Config says what to serve.
type Config struct {
	// Client is the broker's. Required; the caller closes it.
	Client *valetkey.Client
	// Shelf serves credentials where tools look for them. Required; the caller
	// closes it.
	Shelf *serve.Shelf
	// Run turns run_command on. Nil: the tool does not exist.
	Run *Run
	// Guard closes the tasks of a server that is killed. The caller starts it, and
	// dismisses it after Close. Nil: what a killed server leaves open lives to its
	// deadlines.
	Guard *proc.TasksGuard
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
	// maxFollowed is how many grants are followed over a stream. A broker takes 64 of an
	// agent's as it comes, and each look at a grant is one for a moment.
	maxFollowed = 32
	// maxArguments is the most bytes of one call's arguments.
	maxArguments = 64 << 10
	// maxMessage is the most bytes of one message, larger than what is refused
	// politely and small enough to read.
	maxMessage = 16 << 20
	// endTimeout bounds how long a session's end waits for the broker. What is
	// not closed by then dies at its deadline.
	endTimeout = 5 * time.Second
	// closeWithin bounds Close: the broker's part and the commands' go on at once, and
	// the connections come after.
	closeWithin = 2*endTimeout + 2*proc.EndTime
)

const instructions = `valetkey gives you access for one task at a time, for minutes, and never shows you a secret.
1. open_task says what you work on. 2. list_scopes, explain and can say what there is and what it would give.
3. request_access gives a handle and a file for your own shell: run each tool as ". FILE && command", in one line, so that it does not run without.
4. release or close_task when you are done. If people have to approve, you get a handle anyway: tell your user whom to ask,
go on with other work, and look again with access_status. A denial stays a denial: ask for something narrower.`

// Server answers MCP clients. It is safe for concurrent use.
type Server struct {
	cfg Config
	mcp *sdk.Server

	mu       sync.Mutex
	sessions map[*sdk.ServerSession]*session // locked by mu
	begun    int                             // sessions so far; locked by mu
	closed   bool                            // locked by mu
	ending   sync.WaitGroup                  // sessions that are not over; added to under mu

	secrets   secrets
	following atomic.Int64 // accesses, of which the first maxFollowed are followed

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

// Serve serves one client over any transport of the SDK. When ctx ends it cuts the
// calls that go on, and returns within endTimeout even where the client reads no
// answers.
func (s *Server) Serve(ctx context.Context, t sdk.Transport) error {
	ss, err := s.mcp.Connect(ctx, t, nil)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	x, err := s.session(ss)
	if err != nil {
		return errors.Join(err, ss.Close())
	}
	left := make(chan error, 1)
	go func() { left <- ss.Wait() }()
	select {
	case err = <-left:
		if errors.Is(err, io.EOF) {
			err = nil // the client left
		}
		return err
	case <-ctx.Done():
		s.shut(ss, x)
		return nil // we were told to
	}
}

// Close cuts all calls, ends all sessions, and with them their commands and tasks.
// It takes closeWithin at most, and fails where they have not ended by then.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	all := maps.Clone(s.sessions)
	s.mu.Unlock()
	// First all are cut: the SDK's Close waits for the calls that go on.
	for _, x := range all {
		x.cut()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ending.Wait()
		var wg sync.WaitGroup
		for ss, x := range all {
			wg.Go(func() { s.shut(ss, x) })
		}
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(closeWithin):
		return fmt.Errorf("ending all sessions: not over after %v: what is left dies at its deadline", closeWithin)
	}
}

// shut cuts the calls of a session and closes its connection, for which it waits
// endTimeout at most: a client that does not read holds an answer up for ever.
func (s *Server) shut(ss *sdk.ServerSession, x *session) {
	x.cut()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = ss.Close() // how it ended changes nothing
	}()
	select {
	case <-closed:
	case <-time.After(endTimeout):
		s.cfg.Log.WarnContext(context.WithoutCancel(x.ctx), "a client's connection did not close: it does not read what it asked for")
	}
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
	case !s.roomLocked():
		return nil, refuse(ReasonLimit, "%d sessions are open", maxSessions)
	}
	s.begun++
	x := newSession(s, s.begun)
	s.sessions[ss] = x
	s.ending.Add(1)
	left := make(chan struct{})
	go func() {
		defer close(left)
		_ = ss.Wait() // how it ended changes nothing
	}()
	go func() {
		defer s.forget(ss, left)
		defer s.ending.Done()
		select {
		case <-left:
		case <-x.ctx.Done(): // cut: what calls there are end by that
		}
		x.end()
	}()
	return x, nil
}

// roomLocked makes room for one more session: where there is none, the oldest ends that
// holds nothing. A client that has gone without a word leaves such a one behind.
func (s *Server) roomLocked() bool {
	var oldest *session
	var of *sdk.ServerSession
	open := 0
	for ss, x := range s.sessions {
		if x.ctx.Err() != nil {
			continue // it ends
		}
		if open++; x.idle() && (oldest == nil || x.number < oldest.number) {
			oldest, of = x, ss
		}
	}
	switch {
	case open < maxSessions:
		return true
	case oldest == nil:
		return false
	}
	oldest.cut()
	go s.shut(of, oldest)
	return true
}

// forget drops a session once its client is gone: until then a call that comes late
// finds it, and finds it over.
func (s *Server) forget(ss *sdk.ServerSession, left <-chan struct{}) {
	<-left
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ss)
}

// cut ends the session that has that id of the transport's, and what it is at.
func (s *Server) cut(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss, x := range s.sessions {
		if ss.ID() == id {
			x.cut()
		}
	}
}
