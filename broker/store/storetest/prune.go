package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

// prune fills a store with what is old and what is not, and sweeps it in steps of
// every size.
func prune(t *testing.T, s store.Store, _ func() store.Store) {
	now := time.Date(2027, 3, 4, 5, 6, 7, 500_000_000, time.UTC)
	old, young := now.Add(-48*time.Hour), now.Add(-time.Hour)
	day := now.Add(-24 * time.Hour)
	fill := func() {
		update(t, s, func(tx store.Tx) error {
			var errs []error
			grant := func(id, task string, state store.GrantState, asked, ended time.Time) {
				errs = append(errs, tx.PutGrant(store.Grant{ID: id, TaskID: task, Agent: "a", State: state, RequestedAt: asked, EndedAt: ended, ExpiresAt: asked.Add(time.Hour)}))
			}
			grant("g1", "t1", store.GrantExpired, old, old)
			grant("g2", "t2", store.GrantActive, old, time.Time{})
			grant("g3", "t3", store.GrantReleased, old, young)
			grant("g4", "t4", store.GrantRevoked, old, old) // an issuance is open
			grant("g5", "t5", store.GrantRevoked, old, old) // an end is still to be carried upstream
			grant("g6", "t6", store.GrantDenied, old, old)
			grant("g7", "t1", store.GrantDenied, young, young)
			for i, closed := range []time.Time{old, {}, young, old, old, old, old} {
				errs = append(errs, tx.PutTask(store.Task{ID: fmt.Sprintf("t%d", i+1), Agent: "a", OpenedAt: old, ClosedAt: closed}))
			}
			for i := range 7 { // more issuances than a small step may look at
				errs = append(errs, tx.PutIssuance(store.Issuance{ID: fmt.Sprintf("i1%d", i), GrantID: "g1", State: store.IssuanceIssued, Handle: []byte(`{}`)}))
			}
			for id, state := range map[string]store.IssuanceState{"2": store.IssuanceIssued, "3": store.IssuanceIssued, "4": store.IssuanceIntended, "5": store.IssuanceOrphaned} {
				errs = append(errs, tx.PutIssuance(store.Issuance{ID: "i" + id, GrantID: "g" + id, State: state, Handle: []byte(`{}`)}))
			}
			for id, done := range map[string]time.Time{"i10": old, "i3": young, "i5": {}} {
				errs = append(errs, tx.PutWork(store.Work{ID: id, GrantID: "g" + id[1:2], NextAt: now, DoneAt: done, Handle: []byte(`{}`)}))
			}
			for key, result := range map[string]string{
				"old-grant": "g1", "live-grant": "g2", "young-grant": "g3", "old-task": "t7", "old-task-answer": `t7 {"a": 1}`, "open-task": "t2", "gone": "g0",
			} {
				errs = append(errs, tx.PutIdempotency(store.Idempotency{Agent: "a", Key: key, Content: "c", Result: result, At: old}))
			}
			errs = append(errs,
				tx.PutIdempotency(store.Idempotency{Agent: "b", Key: "old", Content: "c", Result: ` "v"`, At: old}),
				tx.PutIdempotency(store.Idempotency{Agent: "b", Key: "young", Content: "c", Result: ` "v"`, At: young}),
				tx.SetFrozen("a", "why", true),
			)
			_, err := tx.Append([]byte("record"))
			return errors.Join(append(errs, err, tx.PutBucket("full again", old), tx.PutBucket("empty", now.Add(time.Hour)))...)
		})
	}
	fill()
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutGrant(store.Grant{ID: "g8", TaskID: "t2", Agent: "a", State: store.GrantPending, RequestedAt: old, ExpiresAt: old}),
			tx.PutApproval(store.Approval{GrantID: "g8", Person: "p"}), tx.PutApproval(store.Approval{GrantID: "g1", Person: "p"}),
		)
	})
	sweep := func(p store.Prune, limit int) {
		t.Helper()
		from := ""
		for range 1000 {
			update(t, s, func(tx store.Tx) (err error) {
				from, err = tx.Prune(p, from, limit)
				return err
			})
			if from == "" {
				return
			}
		}
		t.Fatalf("a sweep in steps of %d does not end", limit)
	}
	sweep(store.Prune{}, 3)
	all := "g1 g2 g3 g4 g5 g6 g7 t1 t2 t3 t4 t5 t6 t7 i10 i16 i2 i3 i4 i5 " +
		"a/gone a/live-grant a/old-grant a/old-task a/old-task-answer a/open-task a/young-grant b/old b/young"
	wantLeft(t, s, all, "keeping everything")
	sweep(store.Prune{Now: now, Keys: day}, 2)
	keys := "a/live-grant a/open-task a/young-grant b/young"
	wantLeft(t, s, "g1 g2 g3 g4 g5 g6 g7 t1 t2 t3 t4 t5 t6 t7 i10 i16 i2 i3 i4 i5 "+keys, "old keys")
	for _, limit := range []int{1, 2, 3, 100} {
		sweep(store.Prune{Now: now, Keys: day, Ended: day}, limit)
		wantLeft(t, s, "g2 g3 g4 g5 g7 t2 t3 i2 i3 i4 i5 "+keys, fmt.Sprintf("all that is old, %d at a time", limit))
	}
	view(t, s, func(r store.Reader) error {
		if due, err := r.DueWork(now, false, 10); err != nil || len(due) != 1 || due[0].ID != "i5" {
			t.Errorf("due work %v, %v", due, err)
		}
		if _, frozen, err := r.Frozen("a"); !frozen || err != nil {
			t.Errorf("a freeze was pruned: %v", err)
		}
		for grant, want := range map[string]int{"g8": 1, "g1": 0} { // one waits for people still, the other is gone
			if votes, err := r.Approvals(grant); err != nil || len(votes) != want {
				t.Errorf("approvals of %s: %v, %v", grant, votes, err)
			}
		}
		if h, err := r.Head(); err != nil || h.Size != 1 {
			t.Errorf("the ledger was touched: %+v, %v", h, err)
		}
		return nil
	})
	update(t, s, func(tx store.Tx) error {
		for key, kept := range map[string]bool{"empty": true, "full again": false} {
			if full, err := tx.Bucket(key); full.IsZero() == kept || err != nil {
				t.Errorf("the bucket %q is full at %v, %v", key, full, err)
			}
		}
		if _, err := tx.Prune(store.Prune{}, "nonsense", 1); err == nil {
			t.Error("it went on from nowhere")
		}
		if _, err := tx.Prune(store.Prune{}, "", 0); err == nil {
			t.Error("a step of no rows was taken")
		}
		return nil
	})
}

func wantLeft(t *testing.T, s store.Store, want, when string) {
	t.Helper()
	var left []string
	view(t, s, func(r store.Reader) error {
		note := func(name string, err error) error {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			left = append(left, name)
			return err
		}
		var errs []error
		for i := range 7 {
			_, err := r.Grant(fmt.Sprint("g", i+1))
			errs = append(errs, note(fmt.Sprint("g", i+1), err))
		}
		for i := range 7 {
			_, err := r.Task(fmt.Sprint("t", i+1))
			errs = append(errs, note(fmt.Sprint("t", i+1), err))
		}
		for _, id := range []string{"i10", "i16", "i2", "i3", "i4", "i5"} {
			_, err := r.Issuance("g"+id[1:2], id)
			errs = append(errs, note(id, err))
		}
		for _, k := range []string{"gone", "live-grant", "old-grant", "old-task", "old-task-answer", "open-task", "young-grant"} {
			_, err := r.Idempotency("a", k)
			errs = append(errs, note("a/"+k, err))
		}
		for _, k := range []string{"old", "young"} {
			_, err := r.Idempotency("b", k)
			errs = append(errs, note("b/"+k, err))
		}
		return errors.Join(errs...)
	})
	if got := fmt.Sprint(left); got != "["+want+"]" {
		t.Errorf("%s: left %s, want %s", when, got, want)
	}
}
