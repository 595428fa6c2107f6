package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// globals are the flags of every command.
type globals struct {
	Broker      string        `help:"The broker's address, host:port." env:"VALETKEY_ADDR" placeholder:"ADDR"`
	BrokerID    string        `name:"broker-id" help:"The SPIFFE ID the broker must have. Without it: any member of your own trust domain." env:"VALETKEY_BROKER_ID" placeholder:"ID"`
	WorkloadAPI string        `name:"workload-api" help:"The Workload API's address, such as unix:///run/spire/api.sock." env:"SPIFFE_ENDPOINT_SOCKET" placeholder:"ADDR"`
	Output      string        `short:"o" help:"How to print: table or json; catalog diff also has markdown." enum:"table,json,markdown" default:"table"`
	Timeout     time.Duration `help:"How long to wait for a broker." default:"30s"`

	// connect replaces dialing; nil in the binary.
	connect connector
}

// connector makes a client of a broker, with what else a command wants of it.
type connector func(...valetkey.Option) (*valetkey.Client, error)

// call connects, runs f with a deadline, and closes. It is for what mints nothing,
// so that there is no receipt to check.
func (g *globals) call(ctx context.Context, f func(context.Context, *valetkey.Client) error) error {
	return g.callWith(ctx, []valetkey.Option{valetkey.WithoutReceiptChecks()}, f)
}

// callWith is call with these options.
func (g *globals) callWith(ctx context.Context, opts []valetkey.Option, f func(context.Context, *valetkey.Client) error) (err error) {
	ctx, cancel := g.limit(ctx)
	defer cancel()
	client, err := g.dialWith(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	err = f(ctx, client)
	// The generated clients do not say why a context was over.
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, valetkey.ErrUnavailable) && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// limit bounds what a broker is waited for.
func (g *globals) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, g.Timeout, fmt.Errorf("%w within %s", valetkey.ErrUnavailable, g.Timeout))
}

// dial makes a client for what mints nothing.
func (g *globals) dial(ctx context.Context) (*valetkey.Client, error) {
	return g.dialWith(ctx, valetkey.WithoutReceiptChecks())
}

// dialWith makes a client of the broker that the flags name.
func (g *globals) dialWith(ctx context.Context, more ...valetkey.Option) (*valetkey.Client, error) {
	if g.connect != nil {
		client, err := g.connect(more...)
		return client, asUsage(err)
	}
	if g.Broker == "" {
		return nil, &usageError{"no broker: give --broker ADDR or set VALETKEY_ADDR"}
	}
	if g.WorkloadAPI == "" {
		return nil, &usageError{"no Workload API: give --workload-api ADDR or set SPIFFE_ENDPOINT_SOCKET"}
	}
	opts := append([]valetkey.Option{valetkey.WithAddr(g.Broker), valetkey.WithWorkloadAPI(g.WorkloadAPI)}, more...)
	if g.BrokerID != "" {
		id, err := spiffeid.FromString(g.BrokerID)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("the broker's ID %q: %v", g.BrokerID, err)}
		}
		opts = append(opts, valetkey.WithBrokerID(id))
	}
	client, err := valetkey.New(ctx, opts...)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no SVID from %s within %s: is the socket right, and is there an entry for this process? %w", g.WorkloadAPI, g.Timeout, err)
	}
	return client, asUsage(err)
}
