package brokertest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Each call that changes something answers a repeat of its key as it did the
// first time, and refuses the key for anything else.
func TestKeysOfCallsThatEndThings(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 6000, Burst: 100}})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	tasks, grants := make([]string, 4), make([]string, 4)
	for i := range tasks {
		tasks[i] = openTask(t, c, fmt.Sprintf("task-key-%d", i))
		g, err := c.RequestGrant(t.Context(), ask(tasks[i], fmt.Sprintf("grant-key-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		grants[i] = g.GetGrant().GetId()
	}
	type call func(key string, other bool) (proto.Message, error)
	pick := func(ids []string, i int, other bool) string {
		if other {
			return ids[3]
		}
		return ids[i]
	}
	for name, do := range map[string]call{
		"CloseTask": func(key string, other bool) (proto.Message, error) {
			return c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{IdempotencyKey: key, TaskId: pick(tasks, 0, other)})
		},
		"RevokeTask": func(key string, other bool) (proto.Message, error) {
			return op.RevokeTask(t.Context(), &valetkeyv1.RevokeTaskRequest{IdempotencyKey: key, TaskId: pick(tasks, 1, other), Cause: "c"})
		},
		"ReleaseGrant": func(key string, other bool) (proto.Message, error) {
			return c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{IdempotencyKey: key, GrantId: pick(grants, 2, other)})
		},
		"RevokeGrant": func(key string, other bool) (proto.Message, error) {
			return op.RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{IdempotencyKey: key, GrantId: grants[3], Cause: fmt.Sprint(other)})
		},
		"RevokeGrants": func(key string, other bool) (proto.Message, error) {
			return op.RevokeGrants(t.Context(), &valetkeyv1.RevokeGrantsRequest{
				IdempotencyKey: key, Whose: &valetkeyv1.RevokeGrantsRequest_Owner{Owner: "nobody"}, Cause: fmt.Sprint(other),
			})
		},
		"SetFreeze": func(key string, other bool) (proto.Message, error) {
			return op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{IdempotencyKey: key, AgentSpiffeId: brokertest.Agent + "0", Frozen: !other, Cause: "c"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := do("end-"+name, false)
			if err != nil {
				t.Fatal(err)
			}
			before := made(t, h)
			again, err := do("end-"+name, false)
			if err != nil || !proto.Equal(first, again) {
				t.Errorf("first %v, then %v, %v", first, again, err)
			}
			if n := made(t, h); n != before {
				t.Errorf("the repeat made %d records", n-before)
			}
			_, err = do("end-"+name, true)
			wantReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_CONFLICT")
			if e, ok := first.(interface{ GetEndedGrantIds() []string }); ok && len(e.GetEndedGrantIds()) != 1 {
				t.Errorf("ended %v", e.GetEndedGrantIds())
			}
			if _, err := do("", false); err != nil {
				t.Errorf("without a key: %v", err)
			}
			if _, err := do("short", false); reasonOf(err) != "INVALID_REQUEST" {
				t.Errorf("a key of five characters: %v", err)
			}
		})
	}
}

// made counts the records but for those that the background makes.
func made(t *testing.T, h *brokertest.Harness) int {
	t.Helper()
	n := 0
	for _, r := range h.Records() {
		if !strings.Contains(r, `"type":"revocation.concluded"`) {
			n++
		}
	}
	return n
}

func TestLateRepeatUndoesNothing(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	set := func(key string, frozen bool) {
		t.Helper()
		if _, err := op.SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{
			IdempotencyKey: key, AgentSpiffeId: brokertest.Agent, Frozen: frozen, Cause: "incident",
		}); err != nil {
			t.Fatal(err)
		}
	}
	set("freeze-1", true)
	set("thaw-key-1", false)
	set("freeze-1", true)
	if _, err := c.RequestGrant(t.Context(), ask(openTask(t, c, "task-key-1"), "grant-key-1")); err != nil {
		t.Errorf("an old freeze came back: %v", err)
	}
	reload := func(key string) {
		t.Helper()
		if _, err := op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{IdempotencyKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	reload("reload-1")
	reload("reload-1")
	reload("")
	if n := strings.Count(typesOf(t, h), "catalog.reloaded"); n != 2 {
		t.Errorf("%d reloads on the record, want 2", n)
	}
	_, err := op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{IdempotencyKey: "freeze-1"})
	wantReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_CONFLICT")
}

// Ends that change nothing make no record, so their keys are what an agent could
// fill the store with.
func TestKeysOfIdleEndsAreLimited(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 60, Burst: 3}})
	c := h.AgentClient(brokertest.Agent)
	task := openTask(t, c, "task-key-1")
	for i := range 3 { // the first one closes, and is free
		if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{IdempotencyKey: fmt.Sprintf("close-key-%d", i), TaskId: task}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{IdempotencyKey: "close-key-9", TaskId: task})
	wantReason(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
		t.Errorf("without a key: %v", err)
	}
}

// The first answer comes again whatever has become of the scope and the task since:
// where an answer was lost, that is how the agent learns of its grant.
func TestRepeatOutlivesScopeAndTask(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c, op := h.AgentClient(brokertest.Agent), h.OperatorClient()
	task := openTask(t, c, "task-key-1")
	scopes, err := c.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	req := ask(task, "grant-key-1")
	req.Mint = false
	for _, s := range scopes.GetScopes() {
		if s.GetName() == req.GetScope() {
			req.ScopeVersion = s.GetVersion()
		}
	}
	first, err := c.RequestGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again := func(when, fresh string) {
		t.Helper()
		got, err := c.RequestGrant(t.Context(), req)
		if err != nil || got.GetGrant().GetId() != first.GetGrant().GetId() {
			t.Errorf("%s: %v, %v", when, got, err)
		}
		other := proto.CloneOf(req)
		other.Justification = "other content"
		_, err = c.RequestGrant(t.Context(), other)
		wantReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_CONFLICT")
		other.IdempotencyKey = "grant-key-2"
		if _, err := c.RequestGrant(t.Context(), other); reasonOf(err) != fresh {
			t.Errorf("%s, with a new key: %v", when, err)
		}
	}
	file := filepath.Join(h.Catalog, "s3-prefix-write.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "description: ", "description: Now ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := op.ReloadCatalog(t.Context(), &valetkeyv1.ReloadCatalogRequest{}); err != nil {
		t.Fatal(err)
	}
	again("in a new catalog", "STALE_SCOPE_VERSION")
	if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: task}); err != nil {
		t.Fatal(err)
	}
	again("in a closed task", "TASK_CLOSED")
}
