package main

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
)

// markOf is what tells one broker's entries in a role's policy from another's: replicas share the
// ledger's key, and so the mark.
func markOf(key *ledger.Key) (string, error) {
	secret, err := key.Derive("mark of revocation policies")
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(secret[:4]), nil
}

// rooms is the metric of how much of each role's inline policies there is for revocations. Its
// labels are the configuration's roles.
type rooms struct {
	minters mint.ByRole
	left    *prometheus.Desc
	denied  *prometheus.Desc
}

func newRooms(minters mint.ByRole) *rooms {
	return &rooms{
		minters: minters,
		left: prometheus.NewDesc("valetkey_revocation_room_characters",
			"What is left of an AWS role's inline policy quota for revocations, in characters, for agents' releases and for operators.", []string{"role", "for"}, nil),
		denied: prometheus.NewDesc("valetkey_revocation_entries", "Sessions and agents that an AWS role's policy denies.", []string{"role", "of"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (r *rooms) Describe(out chan<- *prometheus.Desc) { out <- r.left; out <- r.denied }

// Collect implements prometheus.Collector. It asks no server.
func (r *rooms) Collect(out chan<- prometheus.Metric) {
	for role, m := range r.minters {
		aws, ok := m.(*awssts.Minter)
		if !ok {
			continue
		}
		room, known := aws.Room()
		if !known {
			continue
		}
		gauge := func(d *prometheus.Desc, n int, label string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), role, label)
		}
		gauge(r.left, room.Left(), "releases")
		gauge(r.left, max(0, room.Limit-room.Used), "operators")
		gauge(r.denied, room.Entries, "sessions")
		gauge(r.denied, room.Agents, "agents")
	}
}

// lookLimit bounds the first look at a role's policy.
const lookLimit = 30 * time.Second

// look has each role's room known from the start on, not from its first revocation.
func (r *rooms) look(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	for role, m := range r.minters {
		aws, ok := m.(*awssts.Minter)
		if !ok {
			continue
		}
		if err := aws.Look(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "reading a role's revocation policy; its room is not known", slog.String("role", role), slog.Any("error", err))
		}
	}
}
