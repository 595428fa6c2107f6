package brokertest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestNewSessionIsNoNewBudget(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 60, Burst: 3}})
	for i, want := range []string{"", "", "", "RATE_LIMITED"} {
		c := h.AgentClient(fmt.Sprintf("spiffe://%s/agent/alice/s%d", brokertest.TrustDomain, i))
		_, err := c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-1", Purpose: "test", Environment: "production"})
		if reasonOf(err) != want {
			t.Errorf("session %d: %v, want %q", i, err, want)
		}
	}
	openTask(t, h.AgentClient("spiffe://"+brokertest.TrustDomain+"/agent/bob/s1"), "task-key-1")
}

func TestWatchesAreLimited(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Watches: 2})
	c := h.AgentClient(brokertest.Agent)
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	watch := func() (cancel func(), err error) {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := c.WatchGrant(ctx, &valetkeyv1.WatchGrantRequest{GrantId: g.GetGrant().GetId()})
		if err == nil {
			_, err = w.Recv()
		}
		return cancel, err
	}
	first, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	second, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	defer second()
	third, err := watch()
	third()
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	first()
	brokertest.Eventually(t, "a place is free again", func() bool {
		again, err := watch()
		again()
		return err == nil
	})
}

// Who hangs up has not been refused: it is no fault in the log, and no record.
func TestHangingUpIsNoRefusal(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	g, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	before := len(h.Records())
	ctx, cancel := context.WithCancel(t.Context())
	w, err := c.WatchGrant(ctx, &valetkeyv1.WatchGrantRequest{GrantId: g.GetGrant().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	brokertest.Eventually(t, "the broker sees it", func() bool { return strings.Contains(h.Logs(), "the caller went away") })
	if logs := h.Logs(); strings.Contains(logs, "ERROR") {
		t.Errorf("the log: %s", logs)
	}
	if after := len(h.Records()); after != before {
		t.Errorf("%d records more", after-before)
	}
}
