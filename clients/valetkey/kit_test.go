package valetkey_test

import (
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/clients/valetkey"
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
