package main

import (
	"log/slog"
	"testing"
)

// TestNoCallerHasAllConnections sets fewer connections than one caller has by default.
func TestNoCallerHasAllConnections(t *testing.T) {
	for _, l := range []LimitsConfig{{Connections: 100}, {Connections: 1}, {Connections: 100, ConnectionsPerCaller: 100}, {Connections: 20, StrangersPerPeer: 1000}} {
		b := Config{Limits: l}.budgets(t.Context(), slog.New(slog.DiscardHandler))
		if c := b.MTLS.Conns; c.All != l.Connections || c.Each > max(1, c.All/2) || c.Strangers > c.All {
			t.Errorf("%+v: %+v", l, c)
		}
	}
}
