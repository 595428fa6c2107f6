// Package server is step 9 of 9 and the edge around the path: gRPC over mTLS in,
// credential and receipt out.
//
// Laws:
//   - Every call is authenticated anew; a stream ends with its SVID.
//   - An error reaches the caller as a code, a reason and a fixed text. Its
//     cause goes to the log alone. status.go is the only table.
//   - A refusal is on the record; a flood of them is counted.
//   - The secret is written to the wire and nowhere else. No message is logged.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/approval"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/issue"
	"github.com/valetkey/valetkey/broker/internal/lookup"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/internal/refusals"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/internal/rules"
	"github.com/valetkey/valetkey/broker/listen"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	healthPrefix   = "/grpc.health.v1.Health/"
	agentPrefix    = "/valetkey.v1.AgentService/"
	operatorPrefix = "/valetkey.v1.OperatorService/"
	approvalPrefix = "/valetkey.v1.ApprovalService/"
	ledgerPrefix   = "/valetkey.v1.LedgerService/"
)

// Services are what the calls reach. Each is required.
type Services struct {
	Issue      *issue.Service
	Approval   *approval.Service
	Revocation *revocation.Service
	Orders     *revocation.Orders
	Refusals   *refusals.Log
	Watches    *notify.Hub
	Lookup     *lookup.Desk
	Rules      *rules.Live
	Guard      *guard.Guard
	// Now is the broker's clock.
	Now func() time.Time
}

// Config configures New. Every field is required but those that say what nil or empty means.
type Config struct {
	Services
	// Auth says who calls and as what: agent, operator or approver.
	Auth *identity.Authenticator
	Log  *slog.Logger
	// LedgerKey is the ledger's verifier key, for those who trust on first
	// use; empty names none.
	LedgerKey string
	// Metrics takes the server's counters; nil for none.
	Metrics prometheus.Registerer
	// Budget is what callers may use before they are known, and after; zero for
	// listen.Table's of the mTLS listener.
	Budget listen.GRPC
	// Draining is closed when the server is to end its streams, which would hold
	// up a graceful stop for as long as a grant lives; nil for never.
	Draining <-chan struct{}
}

type edge struct {
	cfg       Config
	validator protovalidate.Validator
	metrics   *metrics
	budget    listen.GRPC
	methods   map[string]method
	calls     *callLog
	unheard   tally // calls without their first message, by owner
	health    healthCalls
}

// New returns a gRPC server with all services registered. opts carry the
// transport credentials.
func New(cfg Config, opts ...grpc.ServerOption) (*grpc.Server, error) {
	if cfg.Issue == nil || cfg.Auth == nil || cfg.Log == nil {
		return nil, errors.New("server: Services, Auth and Log are required")
	}
	v, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("compiling the schema's rules: %w", err)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	if cfg.Budget == (listen.GRPC{}) {
		cfg.Budget = listen.Table().MTLS
	}
	e := &edge{cfg: cfg, validator: v, metrics: m, budget: cfg.Budget, methods: methods(), calls: newCallLog(cfg.Log)}
	opts = append(opts, grpc.StatsHandler(connections{}), grpc.InTapHandle(e.tap), grpc.ChainUnaryInterceptor(e.unary), grpc.ChainStreamInterceptor(e.stream))
	s := grpc.NewServer(append(cfg.Budget.Options(), opts...)...)
	valetkeyv1.RegisterAgentServiceServer(s, &agentServer{Services: cfg.Services})
	valetkeyv1.RegisterOperatorServiceServer(s, &operatorServer{Services: cfg.Services})
	valetkeyv1.RegisterApprovalServiceServer(s, &approvalServer{b: cfg.Approval})
	valetkeyv1.RegisterLedgerServiceServer(s, &ledgerServer{Services: cfg.Services, key: cfg.LedgerKey})
	for service, info := range s.GetServiceInfo() {
		for _, m := range info.Methods {
			if err := checkMethod(e.methods, "/"+service+"/"+m.Name); err != nil {
				return nil, err
			}
		}
	}
	if cfg.Draining != nil {
		go func() { <-cfg.Draining; e.calls.flush() }() // what it has counted till then
	}
	return s, nil
}

func (e *edge) valid(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%w: not a message", grant.ErrInvalid)
	}
	if err := errors.Join(e.validator.Validate(msg), visible(msg.ProtoReflect())); err != nil {
		return fmt.Errorf("%w: %w", grant.ErrInvalid, err)
	}
	return nil
}

func (e *edge) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	heard(ctx)
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		return next(ctx, req)
	}
	began := time.Now()
	c, err := letIn(ctx)
	if err == nil {
		err = e.valid(req)
	}
	if err == nil {
		resp, err = guardPanic(func() (any, error) { return next(ctx, req) })
	}
	if err != nil {
		return nil, e.refuse(ctx, c, info.FullMethod, began, err)
	}
	e.metrics.count(info.FullMethod, "OK", began)
	e.say(ctx, slog.LevelInfo, c, "call", "OK", logCall(c, info.FullMethod, began)...)
	return resp, nil
}

func (e *edge) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		err := e.streamUntilDrained(ss.Context(), func(ctx context.Context) error {
			return next(srv, &checkedStream{ServerStream: ss, ctx: ctx, e: e})
		})
		if errors.Is(err, errDraining) {
			return status.Error(codes.Unavailable, errDraining.Error())
		}
		return err
	}
	began, ctx := time.Now(), ss.Context()
	c, err := letIn(ctx)
	if err == nil {
		err = e.streamUntilDrained(ctx, func(ctx context.Context) error {
			_, err := guardPanic(func() (any, error) {
				return nil, next(srv, &checkedStream{ServerStream: ss, ctx: ctx, e: e})
			})
			return err
		})
	}
	if errors.Is(err, errDraining) {
		// No refusal: to the caller it is a lost connection, to be made again.
		e.metrics.count(info.FullMethod, "OK", began)
		return status.Error(codes.Unavailable, errDraining.Error())
	}
	if err != nil {
		return e.refuse(ctx, c, info.FullMethod, began, err)
	}
	e.metrics.count(info.FullMethod, "OK", began)
	return nil
}

var errDraining = errors.New("the broker is stopping")

// streamUntilDrained runs a stream's handler, and ends it when the server drains.
func (e *edge) streamUntilDrained(ctx context.Context, handle func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-e.cfg.Draining:
			cancel(errDraining)
		case <-ctx.Done():
		}
	}()
	err := handle(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errDraining) {
		return errDraining
	}
	return err
}

// checkedStream validates what comes in, and knows whether the caller's SVID
// still stands.
type checkedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // ServerStream's own way to carry one
	e   *edge
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	heard(s.ctx)
	return s.e.valid(m)
}

func (s *checkedStream) alive() error {
	_, err := s.e.cfg.Auth.Authenticate(s.ServerStream.Context())
	return err
}

// refuse turns err into the caller's answer, and sees to log and record.
func (e *edge) refuse(ctx context.Context, c entered, method string, began time.Time, err error) error {
	var named *refusedGrantError
	grantID := ""
	if errors.As(err, &named) {
		grantID = named.id
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		// Nobody was refused: whoever follows a grant hangs up when they know enough.
		e.metrics.count(method, "CANCELED", began)
		e.say(ctx, slog.LevelInfo, c, "the caller went away", "CANCELED", logCall(c, method, began)...)
		return statusOf(err, grantID)
	}
	a := reasons.Of(err)
	reason, said := a.Reason.Name(), err.Error()
	e.metrics.count(method, reason, began)
	if len(said) > maxLogged && !a.Ours {
		said = strings.ToValidUTF8(said[:maxLogged], "") + "..."
	}
	attrs := append(logCall(c, method, began), slog.String("reason", reason), slog.String("error", said))
	if a.Ours {
		e.say(ctx, slog.LevelError, c, "call failed", reason, attrs...)
	} else {
		e.say(ctx, slog.LevelWarn, c, "call refused", reason, attrs...)
	}
	if !a.Recorded {
		e.cfg.Refusals.Refuse(ctx, refusals.Refused{Who: c.who, Claimed: claimed(err), Correlation: c.correlation, Method: method, Reason: reason})
	}
	return statusOf(err, grantID)
}

// claimed is who a caller says it is that was refused before it was known.
func claimed(err error) (c refusals.Claim) {
	var r *identity.Refusal
	if errors.As(err, &r) {
		c.Agent, c.Delegate = r.Claimed, r.Delegate
	}
	return c
}

// maxLogged bounds what is logged of an error that a caller has a hand in, in bytes.
const maxLogged = 1 << 10

func logCall(c entered, method string, began time.Time) []slog.Attr {
	attrs := []slog.Attr{slog.String("method", method), slog.String("correlation_id", c.correlation), slog.Duration("took", time.Since(began))}
	if c.who.Valid() {
		attrs = append(attrs, slog.String("agent", c.who.ID().String()))
		if d := c.who.Delegate(); !d.IsZero() {
			attrs = append(attrs, slog.String("delegate", d.String()))
		}
	}
	return attrs
}

// say logs what became of a call, within its caller's share of the log.
func (e *edge) say(ctx context.Context, level slog.Level, c entered, message, reason string, attrs ...slog.Attr) {
	caller := ""
	if c.who.Valid() {
		caller = e.cfg.Guard.Subject(c.who)
	}
	e.calls.say(ctx, level, caller, message, reason, attrs...)
}

// guardPanic turns a panic into an error that tells the caller nothing. The
// value could hold anything, so only the stack goes to the log.
func guardPanic(fn func() (any, error)) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, fmt.Errorf("panic of type %T in a handler: %s", r, debug.Stack())
		}
	}()
	return fn()
}

// refusedGrantError names the grant that a refusal left on the record.
type refusedGrantError struct {
	error
	id string
}

func (r *refusedGrantError) Unwrap() error { return r.error }
