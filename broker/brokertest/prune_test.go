package brokertest_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// What has ended goes after its time, and the record of it stays.
func TestOldStateIsPruned(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{Retention: 48 * time.Hour})
	c := h.AgentClient(brokertest.Agent)
	task, open := openTask(t, c, "task-key-1"), openTask(t, c, "task-key-2")
	g, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	id := g.GetGrant().GetId()
	if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{IdempotencyKey: "close-key-1", TaskId: task}); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "the revocation is on the record", func() bool { return has(t, h, "revocation.concluded", "") })
	// gone says which of the closed task's rows are gone: keys, then grant, then task.
	gone := func() (keys, grant, closed bool) {
		t.Helper()
		missing := func(err error) bool {
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
			return err != nil
		}
		if err := h.Store.View(t.Context(), func(r store.Reader) error {
			keys = true
			for _, k := range []string{"task-key-1", "grant-key-1", "close-key-1"} {
				_, err := r.Idempotency(brokertest.Agent, k)
				keys = keys && missing(err)
			}
			_, err := r.Grant(id)
			grant = missing(err)
			_, err = r.Task(task)
			closed = missing(err)
			if _, err := r.Task(open); err != nil {
				t.Errorf("an open task was pruned: %v", err)
			}
			if _, err := r.Idempotency(brokertest.Agent, "task-key-2"); err != nil {
				t.Errorf("the key of an open task was pruned: %v", err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return keys, grant, closed
	}
	records := len(h.Records())
	h.Clock.Add(23 * time.Hour)
	h.Stop() // a start sweeps at once
	h.Start()
	if k, g, c := gone(); k || g || c {
		t.Errorf("after 23 h: keys %v, grant %v, task %v are gone", k, g, c)
	}
	h.Clock.Add(2 * time.Hour)
	brokertest.Eventually(t, "the keys go", func() bool { k, _, _ := gone(); return k })
	if _, g, c := gone(); g || c {
		t.Errorf("after 25 h: grant %v, task %v are gone", g, c)
	}
	h.Clock.Add(24 * time.Hour)
	brokertest.Eventually(t, "grant and task go", func() bool { _, g, c := gone(); return g && c })
	if n := len(h.Records()); n < records {
		t.Errorf("%d records of %d are left", n, records)
	}
	if err := h.Key.Check(t.Context(), h.Store); err != nil {
		t.Error(err)
	}
}

// pruneAll is one whole sweep.
func pruneAll(t *testing.T, h *brokertest.Harness, p store.Prune) {
	t.Helper()
	if _, err := h.Store.Update(t.Context(), func(tx store.Tx) (err error) {
		for from := ""; ; {
			if from, err = tx.Prune(p, from, 1000); err != nil || from == "" {
				return err
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// A key that outlives what it made gets a clear answer.
func TestRepeatAfterPruning(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	c := h.AgentClient(brokertest.Agent)
	task, old := openTask(t, c, "task-key-1"), openTask(t, c, "task-key-2")
	g, err := c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReleaseGrant(t.Context(), &valetkeyv1.ReleaseGrantRequest{GrantId: g.GetGrant().GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CloseTask(t.Context(), &valetkeyv1.CloseTaskRequest{TaskId: old}); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "the revocation is on the record", func() bool { return has(t, h, "revocation.concluded", "") })
	pruneAll(t, h, store.Prune{Ended: h.Clock.Now().Add(time.Hour)})
	_, err = c.RequestGrant(t.Context(), ask(task, "grant-key-1"))
	wantReason(t, err, codes.FailedPrecondition, "GRANT_ENDED")
	_, err = c.OpenTask(t.Context(), &valetkeyv1.OpenTaskRequest{IdempotencyKey: "task-key-2", Purpose: "test", Environment: "production"})
	wantReason(t, err, codes.FailedPrecondition, "TASK_CLOSED")
}
