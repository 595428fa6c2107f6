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
	"crypto/rand"
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
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker"
	"github.com/valetkey/valetkey/broker/identity"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

const (
	maxMessage = 1 << 20
	// maxStreams bounds what one connection can hold open.
	maxStreams = 256
	// maxConnectionAge makes callers shake hands again, with their newest SVID.
	maxConnectionAge = 30 * time.Minute
	healthPrefix     = "/grpc.health.v1.Health/"
	agentPrefix      = "/valetkey.v1.AgentService/"
	operatorPrefix   = "/valetkey.v1.OperatorService/"
	approvalPrefix   = "/valetkey.v1.ApprovalService/"
)

// Config configures New. Every field is required but Operators, Approvers and those that say what nil or empty means.
type Config struct {
	Broker *broker.Broker
	Auth   *identity.Authenticator
	// Operators are the SPIFFE IDs that may call OperatorService.
	Operators []string
	// Approvers are the SPIFFE IDs that may call ApprovalService.
	Approvers []string
	Log       *slog.Logger
	// LedgerKey is the ledger's verifier key, for agents that trust on first
	// use; empty names none.
	LedgerKey string
	// Metrics takes the server's counters; nil for none.
	Metrics prometheus.Registerer
	// Draining is closed when the server is to end its streams, which would hold
	// up a graceful stop for as long as a grant lives; nil for never.
	Draining <-chan struct{}
}

type edge struct {
	cfg       Config
	operators map[string]bool
	approvers map[string]bool
	validator protovalidate.Validator
	metrics   *metrics
}

// New returns a gRPC server with all services registered. opts carry the
// transport credentials.
func New(cfg Config, opts ...grpc.ServerOption) (*grpc.Server, error) {
	if cfg.Broker == nil || cfg.Auth == nil || cfg.Log == nil {
		return nil, errors.New("server: Broker, Auth and Log are required")
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
	e := &edge{cfg: cfg, operators: map[string]bool{}, approvers: map[string]bool{}, validator: v, metrics: m}
	for _, id := range cfg.Operators {
		e.operators[id] = true
	}
	for _, id := range cfg.Approvers {
		e.approvers[id] = true
	}
	opts = append(opts,
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: time.Minute}),
		grpc.ChainUnaryInterceptor(e.unary),
		grpc.ChainStreamInterceptor(e.stream),
	)
	s := grpc.NewServer(opts...)
	valetkeyv1.RegisterAgentServiceServer(s, &agentServer{b: cfg.Broker, ledgerKey: cfg.LedgerKey})
	valetkeyv1.RegisterOperatorServiceServer(s, &operatorServer{b: cfg.Broker})
	valetkeyv1.RegisterApprovalServiceServer(s, &approvalServer{b: cfg.Broker})
	return s, nil
}

type callerKey struct{}

// callerOf is who calls; the interceptors put it there, so a handler without
// one cannot be reached.
func callerOf(ctx context.Context) broker.Caller {
	c, _ := ctx.Value(callerKey{}).(broker.Caller)
	return c
}

// enter is step 1 for one call.
func (e *edge) enter(ctx context.Context, method string) (context.Context, broker.Caller, error) {
	c := broker.Caller{Correlation: strings.ToLower(rand.Text())}
	agent, err := e.cfg.Auth.Authenticate(ctx)
	if err != nil {
		return ctx, c, err
	}
	c.Agent = agent
	if strings.HasPrefix(method, agentPrefix) && e.approvers[agent.ID().String()] {
		return ctx, c, errNotAllowed // who decides does not ask
	}
	if listed := e.listFor(method); listed != nil && (!listed[agent.ID().String()] || !agent.Delegate().IsZero()) {
		return ctx, c, errNotAllowed
	}
	return context.WithValue(ctx, callerKey{}, c), c, nil
}

// listFor is who may call a method; nil for every agent.
func (e *edge) listFor(method string) map[string]bool {
	switch {
	case strings.HasPrefix(method, operatorPrefix):
		return e.operators
	case strings.HasPrefix(method, approvalPrefix):
		return e.approvers
	default:
		return nil
	}
}

func (e *edge) valid(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%w: not a message", errInvalid)
	}
	if err := e.validator.Validate(msg); err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	return nil
}

func (e *edge) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		return next(ctx, req)
	}
	began := time.Now()
	ctx, c, err := e.enter(ctx, info.FullMethod)
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
	e.cfg.Log.InfoContext(ctx, "call", logCall(c, info.FullMethod, began)...)
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
	began := time.Now()
	ctx, c, err := e.enter(ss.Context(), info.FullMethod)
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
	return s.e.valid(m)
}

func (s *checkedStream) alive() error {
	_, err := s.e.cfg.Auth.Authenticate(s.ServerStream.Context())
	return err
}

// refuse turns err into the caller's answer, and sees to log and record.
func (e *edge) refuse(ctx context.Context, c broker.Caller, method string, began time.Time, err error) error {
	var named *refusedGrantError
	grantID := ""
	if errors.As(err, &named) {
		grantID = named.id
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		// Nobody was refused: whoever follows a grant hangs up when they know enough.
		e.metrics.count(method, "CANCELED", began)
		e.cfg.Log.InfoContext(ctx, "the caller went away", logCall(c, method, began)...)
		return statusOf(err, grantID)
	}
	r := rowOf(err)
	e.metrics.count(method, Reason(err), began)
	attrs := append(logCall(c, method, began), slog.String("reason", Reason(err)), slog.String("error", err.Error()))
	if r.ours {
		e.cfg.Log.ErrorContext(ctx, "call failed", attrs...)
	} else {
		e.cfg.Log.WarnContext(ctx, "call refused", attrs...)
	}
	if !r.recorded {
		e.cfg.Broker.Refuse(ctx, c, claimed(err), method, Reason(err))
	}
	return statusOf(err, grantID)
}

// claimed is who a caller says it is that was refused before it was known.
func claimed(err error) (c broker.Claim) {
	var r *identity.Refusal
	if errors.As(err, &r) {
		c.Agent, c.Delegate = r.Claimed, r.Delegate
	}
	return c
}

func logCall(c broker.Caller, method string, began time.Time) []any {
	attrs := []any{slog.String("method", method), slog.String("correlation_id", c.Correlation), slog.Duration("took", time.Since(began))}
	if c.Agent.Valid() {
		attrs = append(attrs, slog.String("agent", c.Agent.ID().String()))
		if d := c.Agent.Delegate(); !d.IsZero() {
			attrs = append(attrs, slog.String("delegate", d.String()))
		}
	}
	return attrs
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
