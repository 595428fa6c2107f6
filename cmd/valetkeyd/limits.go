package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/valetkey/valetkey/broker/listen"
)

// LimitsConfig is how many connections the listeners for callers have; see docs/limits.md for what is fixed.
type LimitsConfig struct {
	// Connections is how many the mTLS listener and the JWT listener have at once, each;
	// 0 for 4096. It is made less where the process may not open as many files.
	Connections int `yaml:"connections"`
	// ConnectionsPerCaller is how many of those the agents of one subject (guard.rate_by)
	// have, or one delegate, operator or approver; 0 for 256. Half of all at most.
	ConnectionsPerCaller int `yaml:"connections_per_caller"`
	// StrangersPerPeer is how many connections without an accepted call one address
	// has; 0 for 128. The oldest is closed for one more. Raise it where many agents
	// come from one address at once, as behind NAT.
	StrangersPerPeer int `yaml:"strangers_per_peer"`
}

func (l LimitsConfig) check() error {
	if l.Connections < 0 || l.ConnectionsPerCaller < 0 || l.StrangersPerPeer < 0 {
		return fmt.Errorf("limits: %d, %d and %d must be 0 (the default) or more", l.Connections, l.ConnectionsPerCaller, l.StrangersPerPeer)
	}
	return nil
}

// budgets are those of the listeners that c opens.
func (c Config) budgets(ctx context.Context, log *slog.Logger) listen.Budgets {
	b := listen.Table()
	var open []*listen.Conns
	for _, g := range []*listen.GRPC{&b.MTLS, &b.JWT} {
		g.All = or(c.Limits.Connections, g.All)
		g.Each = or(c.Limits.ConnectionsPerCaller, g.Each)
		g.StrangersEach = or(c.Limits.StrangersPerPeer, g.StrangersEach)
		g.Strangers = min(max(g.Strangers, g.StrangersEach), g.All)
		g.Conns = g.Shared()
	}
	for _, l := range []struct {
		address string
		conns   *listen.Conns
	}{{c.Listen, &b.MTLS.Conns}, {c.Identity.JWT.Listen, &b.JWT.Conns}, {c.Ledger.Listen, &b.Ledger.Conns}, {c.Metrics.Listen, &b.Metrics.Conns}} {
		if l.address != "" {
			open = append(open, l.conns)
		}
	}
	if listen.Fit(open...) {
		log.WarnContext(ctx, "the process may open fewer files than the listeners may have connections, so they have fewer: raise its limit (ulimit -n, LimitNOFILE=)",
			slog.Int("connections", b.MTLS.All))
	}
	return b
}

func or(configured, otherwise int) int {
	if configured != 0 {
		return configured
	}
	return otherwise
}
