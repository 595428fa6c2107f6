package brokertest_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestAnAgentSeesItsOwn looks at tasks and grants as the agent that has them, and as another.
func TestAnAgentSeesItsOwn(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, other := h.AgentClient(brokertest.Agent), h.AgentClient("spiffe://"+brokertest.TrustDomain+"/agent/bob/s1")
	one, two := openTask(t, c, "task-key-1"), openTask(t, c, "task-key-2")
	grants := map[string]string{}
	for key, task := range map[string]string{"grant-key-1": one, "grant-key-2": two, "grant-key-3": two} {
		req := ask(task, key)
		req.Justification = key // another request
		resp, err := c.RequestGrant(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		grants[key] = resp.GetGrant().GetId()
	}
	list := func(c valetkeyv1.AgentServiceClient, r *valetkeyv1.ListGrantsRequest) (ids []string) {
		t.Helper()
		for {
			resp, err := c.ListGrants(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range resp.GetGrants() {
				ids = append(ids, g.GetId())
			}
			if r.PageToken = resp.GetNextPageToken(); r.GetPageToken() == "" {
				slices.Sort(ids)
				return ids
			}
		}
	}
	sorted := func(keys ...string) (ids []string) {
		for _, k := range keys {
			ids = append(ids, grants[k])
		}
		slices.Sort(ids)
		return ids
	}
	if got, want := list(c, &valetkeyv1.ListGrantsRequest{PageSize: 1}), sorted("grant-key-1", "grant-key-2", "grant-key-3"); !slices.Equal(got, want) {
		t.Errorf("one has %v, want %v", got, want)
	}
	if got, want := list(c, &valetkeyv1.ListGrantsRequest{TaskId: two}), sorted("grant-key-2", "grant-key-3"); !slices.Equal(got, want) {
		t.Errorf("in a task there are %v, want %v", got, want)
	}
	if got := list(other, &valetkeyv1.ListGrantsRequest{TaskId: two}); len(got) != 0 {
		t.Errorf("another agent is shown %v", got)
	}
	ended := grants["grant-key-3"]
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: ended}); err != nil {
		t.Fatal(err)
	}
	if got := list(c, &valetkeyv1.ListGrantsRequest{TaskId: two}); !slices.Equal(got, sorted("grant-key-2")) {
		t.Errorf("after an end there are %v", got)
	}
	g, err := c.GetGrant(t.Context(), &valetkeyv1.GetGrantRequest{GrantId: ended})
	if err != nil || g.GetGrant().GetState() != valetkeyv1.GrantState_GRANT_STATE_RELEASED {
		t.Errorf("an ended grant is %v: %v", g, err)
	}
	task, err := c.GetTask(t.Context(), &valetkeyv1.GetTaskRequest{TaskId: one})
	if err != nil || task.GetTask().GetId() != one || task.GetTask().GetAgentSpiffeId() != brokertest.Agent {
		t.Errorf("a task is %v: %v", task, err)
	}
	_, err = other.GetGrant(t.Context(), &valetkeyv1.GetGrantRequest{GrantId: ended})
	wantReason(t, err, codes.NotFound, "GRANT_NOT_FOUND")
	_, err = other.GetTask(t.Context(), &valetkeyv1.GetTaskRequest{TaskId: one})
	wantReason(t, err, codes.NotFound, "TASK_NOT_FOUND")
}
