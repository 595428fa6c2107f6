package brokertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestNoCallIsFree makes 2,000 of each call that leaves nothing behind.
func TestNoCallIsFree(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 60, Burst: 10}})
	for name, call := range map[string]func(context.Context, valetkeyv1.AgentServiceClient) error{
		"ExplainScope": func(ctx context.Context, c valetkeyv1.AgentServiceClient) error {
			_, err := c.ExplainScope(ctx, &valetkeyv1.ExplainScopeRequest{Scope: "s3-prefix-read", Parameters: map[string]*valetkeyv1.Value{
				"bucket": {Values: []string{"prod"}}, "prefix": {Values: []string{"reports/"}},
			}})
			return err
		},
		"ListGrants": func(ctx context.Context, c valetkeyv1.AgentServiceClient) error {
			_, err := c.ListGrants(ctx, &valetkeyv1.ListGrantsRequest{})
			return err
		},
		"GetTask of nothing": func(ctx context.Context, c valetkeyv1.AgentServiceClient) error {
			_, err := c.GetTask(ctx, &valetkeyv1.GetTaskRequest{TaskId: "task_" + strings.Repeat("a", 26)})
			if status.Code(err) == codes.NotFound {
				return nil
			}
			return err
		},
		"ListScopes": func(ctx context.Context, c valetkeyv1.AgentServiceClient) error {
			_, err := c.ListScopes(ctx, &valetkeyv1.ListScopesRequest{})
			return err
		},
		"CloseTask of nothing": func(ctx context.Context, c valetkeyv1.AgentServiceClient) error {
			_, err := c.CloseTask(ctx, &valetkeyv1.CloseTaskRequest{TaskId: "task_" + strings.Repeat("a", 26)})
			if status.Code(err) == codes.NotFound {
				return nil // an answer, and no refusal for being too many
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			// A user of its own, and so a budget.
			c := h.AgentClient("spiffe://" + brokertest.TrustDomain + "/agent/" + strings.ToLower(strings.ReplaceAll(name, " ", "-")) + "/s1")
			logged, records := len(h.Logs()), len(h.Records())
			answered := 0
			var last error
			for range 2000 {
				if err := call(t.Context(), c); err != nil {
					last = errors.Join(err)
				} else {
					answered++
				}
			}
			wantReason(t, last, codes.ResourceExhausted, "RATE_LIMITED")
			for _, d := range status.Convert(last).Details() {
				if r, ok := d.(*errdetails.RetryInfo); ok && r.GetRetryDelay().AsDuration() <= 0 {
					t.Error("it does not say how long to wait")
				}
			}
			if answered > 200 { // 100 at once and 10 a second
				t.Errorf("%d of 2,000 were answered", answered)
			}
			if n := len(h.Logs()) - logged; n > 40<<10 {
				t.Errorf("2,000 calls are %d bytes in the log", n)
			}
			if n := len(h.Records()) - records; n > 50 {
				t.Errorf("2,000 calls are %d records", n)
			}
		})
	}
}

// TestWhoLooksTooOftenCanGiveBack has an agent use up its calls, and end its task.
func TestWhoLooksTooOftenCanGiveBack(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 60, Burst: 10}})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	var err error
	for range 500 {
		if _, err = c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{}); err != nil {
			break
		}
	}
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
		t.Errorf("closing its task: %v", err)
	}
}

// TestANoisyAgentTakesNothingOfItsDelegates calls too often through a delegate, which
// speaks for another who calls once.
func TestANoisyAgentTakesNothingOfItsDelegates(t *testing.T) {
	h := brokertest.New(t, withDelegate(guard.Config{CallsPerMinute: 1, CallBurst: 2})) // the delegate has 20
	c := h.AgentClient(delegate)
	look := func(agent string) error {
		_, err := c.ListScopes(speakFor(t.Context(), agent), &valetkeyv1.ListScopesRequest{})
		return err
	}
	for range 100 {
		_ = look(brokertest.Agent) // mostly refused
	}
	wantReason(t, look(brokertest.Agent), codes.ResourceExhausted, "RATE_LIMITED")
	if err := look("spiffe://example.org/agent/bob/s1"); err != nil {
		t.Errorf("another agent of the delegate: %v", err)
	}
}
