package valetkey_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestTask(t *testing.T) {
	h := start(t)
	c := dial(t, h)
	task := open(t, c)

	said, err := task.Explain(t.Context(), "s3-prefix-read", params)
	must(t, err)
	if !said.GetAllowed() {
		t.Errorf("explain says %v", said)
	}
	g, err := task.Request(t.Context(), "s3-prefix-read", params, valetkey.WithTTL(5*time.Minute), valetkey.WithJustification("why not"))
	must(t, err)
	must(t, g.Wait(t.Context()))
	first, err := g.Mint(t.Context())
	must(t, err)
	second, err := g.Mint(t.Context())
	must(t, err)
	if g.State() != valetkeyv1.GrantState_GRANT_STATE_ACTIVE {
		t.Errorf("the grant is %s", g.State())
	}
	if first.ID() == second.ID() || !first.Receipt().Verified || second.Receipt().Index <= first.Receipt().Index {
		t.Errorf("%s at %d and %s at %d", first.ID(), first.Receipt().Index, second.ID(), second.Receipt().Index)
	}
	if got := time.Until(first.ExpiresAt()); got > 5*time.Minute || got < 4*time.Minute {
		t.Errorf("it lives %v", got)
	}
	if h.Minter.Live() != 2 {
		t.Errorf("%d live upstream", h.Minter.Live())
	}
	must(t, g.Release(t.Context()))
	if _, err := g.Mint(t.Context()); !errors.Is(err, valetkey.ErrGrantEnded) {
		t.Errorf("minting from a released grant: %v", err)
	}
	brokertest.Eventually(t, "the credentials are revoked", func() bool { return h.Minter.Live() == 0 })

	g, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	if !cred.Valid() || cred.GrantID() != g.ID() {
		t.Errorf("credential of %q from grant %q", cred.GrantID(), g.ID())
	}
	must(t, c.Close())
	brokertest.Eventually(t, "closing the client ends its tasks", func() bool { return h.Minter.Live() == 0 })
	if _, err := c.OpenTask(t.Context(), spec); !errors.Is(err, valetkey.ErrClosed) {
		t.Errorf("opening on a closed client: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	h := brokertest.NewRunning(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 1, Burst: 3}})
	task := open(t, dial(t, h))
	var refused *valetkey.Error

	_, err := task.Request(t.Context(), "s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
	if !errors.Is(err, valetkey.ErrNeedsApproval) || !errors.As(err, &refused) {
		t.Fatalf("a rebuild: %v", err)
	}
	if len(refused.Needs) != 1 || refused.Needs[0] != (valetkey.Need{Group: "sre", Approvals: 2}) || refused.GrantID == "" {
		t.Errorf("it needs %v, grant %q", refused.Needs, refused.GrantID)
	}
	if _, err := task.Request(t.Context(), "s3-raed", params); !errors.Is(err, valetkey.ErrUnknownScope) || errors.Is(err, valetkey.ErrDenied) {
		t.Errorf("no such scope: %v", err)
	}
	for range 2 {
		if _, err = task.Request(t.Context(), "s3-prefix-read", params); err != nil {
			break
		}
	}
	if !errors.Is(err, valetkey.ErrRateLimited) || !errors.As(err, &refused) || refused.RetryAfter <= 0 || refused.RetryAfter > time.Minute {
		t.Errorf("too many: %v (%v)", err, refused)
	}
	if _, err := open2(t, h).Request(t.Context(), "s3-prefix-read", valetkey.Params{}); !errors.Is(err, valetkey.ErrInvalidParameter) {
		t.Errorf("no parameters: %v", err)
	}
}

// TestCloseLater has the broker away when a task is closed.
func TestCloseLater(t *testing.T) {
	h := start(t)
	f := newFront(t, h.Addr())
	c := dial(t, h, valetkey.WithAddr(f.addr()), valetkey.WithRetryFor(100*time.Millisecond))
	task := open(t, c)
	must(t, mintOne(t, task))
	f.point("")
	if err := task.Close(t.Context()); !errors.Is(err, valetkey.ErrUnavailable) {
		t.Errorf("closing without a broker: %v", err)
	}
	f.point(h.Addr())
	brokertest.Eventually(t, "the task is closed after all", func() bool { return task.Close(t.Context()) == nil })
	brokertest.Eventually(t, "nothing lives", func() bool { return h.Minter.Live() == 0 })
}

func open2(t *testing.T, h *brokertest.Harness) *valetkey.Task {
	t.Helper()
	return open(t, dial(t, h, valetkey.WithIdentity(identityOf(h, "spiffe://example.org/agent/bob/s1"))))
}
