package valetkey_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

var (
	params   = valetkey.Params{"bucket": {"prod"}, "prefix": {"reports/"}}
	spec     = valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}
	brokerID = spiffeid.RequireFromString("spiffe://example.org/valetkeyd")
)

// identity is an SVID source of the harness's authority, with its bundle.
type identity struct {
	*devauthority.Source
	bundle *x509bundle.Bundle
}

func (i identity) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return i.bundle.GetX509BundleForTrustDomain(td)
}

func identityOf(h *brokertest.Harness, id string) identity {
	return identity{h.Authority.Source(spiffeid.RequireFromString(id)), h.Authority.X509Bundle()}
}

// dial makes a client of the harness's broker, as its agent and with its ledger's
// key. opts come after.
func dial(t *testing.T, h *brokertest.Harness, opts ...valetkey.Option) *valetkey.Client {
	t.Helper()
	c, err := valetkey.New(t.Context(), append([]valetkey.Option{
		valetkey.WithAddr(h.Addr()), valetkey.WithIdentity(identityOf(h, brokertest.Agent)), valetkey.WithBrokerID(brokerID),
		valetkey.WithLedgerKey(h.Key.VerifierKey()), valetkey.WithRetryFor(5 * time.Second),
		valetkey.WithLogger(slog.New(slog.DiscardHandler)),
	}, opts...)...)
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, valetkey.ErrUnavailable) {
			t.Logf("closing the client: %v", err)
		}
	})
	return c
}

func open(t *testing.T, c *valetkey.Client) *valetkey.Task {
	t.Helper()
	task, err := c.OpenTask(t.Context(), spec)
	must(t, err)
	return task
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freeze(t *testing.T, h *brokertest.Harness, on bool) {
	t.Helper()
	_, err := h.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: brokertest.Agent, Frozen: on, Cause: "a test"})
	must(t, err)
}

func revoke(t *testing.T, h *brokertest.Harness, grant string) {
	t.Helper()
	_, err := h.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: grant, Cause: "a test"})
	must(t, err)
}

func revokeTask(t *testing.T, h *brokertest.Harness, task string) {
	t.Helper()
	_, err := h.OperatorClient().RevokeTask(t.Context(), &valetkeyv1.RevokeTaskRequest{TaskId: task, Cause: "a test"})
	must(t, err)
}

// start runs a broker that takes as many calls as a test makes.
func start(t *testing.T) *brokertest.Harness {
	t.Helper()
	return brokertest.NewRunning(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 600_000, Burst: 10_000}})
}
