// Package storetest is the contract that every store.Store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

// Seal is a SealFunc that signs nothing, for stores under test.
func Seal(t tlog.Tree) ([]byte, error) {
	return fmt.Appendf(nil, "%d %s", t.N, t.Hash), nil
}

var errStop = errors.New("stop")

// Run runs the contract. open returns an empty store that the test closes, and
// a function that opens the same store again after Close.
func Run(t *testing.T, open func(t *testing.T) (store.Store, func() store.Store)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Store, func() store.Store){
		"rows come back as they were put": rows,
		"a failed update leaves nothing":  failed,
		"a panic leaves nothing":          panics,
		"the ledger is a Merkle log":      ledger,
		"concurrent updates are serial":   concurrent,
		"a bucket allows its burst":       bucket,
		"what was acknowledged survives":  survives,
		"a closed store refuses":          closed,
		"what is old is pruned":           prune,
	} {
		t.Run(name, func(t *testing.T) {
			s, again := open(t)
			test(t, s, again)
		})
	}
}

func update(t *testing.T, s store.Store, fn func(store.Tx) error) store.Head {
	t.Helper()
	h, err := s.Update(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func view(t *testing.T, s store.Store, fn func(store.Reader) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func rows(t *testing.T, s store.Store, _ func() store.Store) {
	now := time.Now().UTC()
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutTask(store.Task{ID: "t1", Agent: "a", OpenedAt: now}),
			tx.PutGrant(store.Grant{ID: "g1", TaskID: "t1", Agent: "a", State: store.GrantActive, ExpiresAt: now}),
			tx.PutGrant(store.Grant{ID: "g2", TaskID: "t1", Agent: "b", State: store.GrantCleared, ExpiresAt: now.Add(time.Hour)}),
			tx.PutGrant(store.Grant{ID: "g3", TaskID: "t2", Agent: "a", State: store.GrantDenied, ExpiresAt: now}),
			tx.PutGrant(store.Grant{ID: "g4", TaskID: "t3", Agent: "c", State: store.GrantPending, ExpiresAt: now.Add(time.Hour), Case: &store.Case{Nonce: "n"}}),
			tx.PutGrant(store.Grant{ID: "g5", TaskID: "t3", Agent: "c", State: store.GrantPending, ExpiresAt: now.Add(time.Hour)}),
			tx.PutGrant(store.Grant{ID: "g5", TaskID: "t3", Agent: "c", State: store.GrantLapsed, ExpiresAt: now.Add(time.Hour)}),
			tx.PutApproval(store.Approval{GrantID: "g4", Person: "p2", Decision: "approve"}),
			tx.PutApproval(store.Approval{GrantID: "g4", Person: "p1", Decision: "approve"}),
			tx.PutApproval(store.Approval{GrantID: "g4", Person: "p1", Decision: "reject"}),
			tx.PutApproval(store.Approval{GrantID: "g5", Person: "p1", Decision: "approve"}),
			tx.PutIssuance(store.Issuance{ID: "i1", GrantID: "g1", State: store.IssuanceIntended, Handle: []byte(`{}`)}),
			tx.PutIssuance(store.Issuance{ID: "i2", GrantID: "g1", State: store.IssuanceIssued, Handle: []byte(`{}`)}),
			tx.PutWork(store.Work{ID: "w1", NextAt: now, Handle: []byte(`{}`)}),
			tx.PutWork(store.Work{ID: "w2", NextAt: now, DoneAt: now, Handle: []byte(`{}`)}),
			tx.PutWork(store.Work{ID: "w3", NextAt: now.Add(store.MaxPutOff), Handle: []byte(`{}`)}),
			tx.PutWork(store.Work{ID: "w4", NextAt: now.Add(store.MaxPutOff + 1), Handle: []byte(`{}`)}), // by a clock that was ahead
			tx.PutIdempotency(store.Idempotency{Agent: "a", Key: "k", Content: "c", Result: "g1"}),
			tx.SetFrozen("a", "why", true),
		)
	})
	view(t, s, func(r store.Reader) error {
		task, err := r.Task("t1")
		if err != nil || !task.OpenedAt.Equal(now) || task.Agent != "a" {
			t.Errorf("task %+v, %v", task, err)
		}
		if _, err := r.Task("none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a missing task: %v", err)
		}
		for want, f := range map[string]store.GrantFilter{
			"[g5 g4 g3 g2 g1]": {}, "[g2 g1]": {TaskID: "t1"}, "[g3 g1]": {Agent: "a"}, "[g4 g2]": {Open: true, Limit: 2},
			"[g4]": {Pending: true}, "[g4] ": {TaskID: "t3", Open: true, Limit: -1}, "[g1]": {Open: true, ExpiredBy: now}, "[g2 g1] ": {Before: "g3"},
		} {
			gs, err := r.Grants(f)
			if err != nil {
				return err
			}
			var ids []string
			for _, g := range gs {
				ids = append(ids, g.ID)
			}
			if got := fmt.Sprint(ids); got != want && got+" " != want {
				t.Errorf("grants %+v: %v, want %v", f, got, want)
			}
		}
		votes, err := r.Approvals("g4")
		if err != nil || len(votes) != 2 || votes[0].Person != "p1" || votes[0].Decision != "reject" || votes[1].Person != "p2" {
			t.Errorf("approvals %+v, %v", votes, err)
		}
		if g, err := r.Grant("g4"); err != nil || g.Case == nil || g.Case.Nonce != "n" {
			t.Errorf("grant %+v, %v", g, err)
		}
		open, err := r.Issuances(store.IssuanceFilter{State: store.IssuanceIntended})
		if err != nil || len(open) != 1 || open[0].ID != "i1" {
			t.Errorf("open issuances %+v, %v", open, err)
		}
		issued, err := r.Issuances(store.IssuanceFilter{GrantID: "g1", State: store.IssuanceIssued})
		if err != nil || len(issued) != 1 || issued[0].ID != "i2" {
			t.Errorf("issued %+v, %v", issued, err)
		}
		due, err := r.DueWork(now, 10)
		if err != nil || len(due) != 2 || due[0].ID != "w1" || due[1].ID != "w4" {
			t.Errorf("due %+v, %v", due, err)
		}
		if k, err := r.Idempotency("a", "k"); err != nil || k.Result != "g1" {
			t.Errorf("idempotency %+v, %v", k, err)
		}
		if _, err := r.Idempotency("b", "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another agent's key: %v", err)
		}
		cause, frozen, err := r.Frozen("a")
		if err != nil || !frozen || cause != "why" {
			t.Errorf("frozen %q %v %v", cause, frozen, err)
		}
		_, frozen, err = r.Frozen("b")
		if err != nil || frozen {
			t.Errorf("not frozen: %v %v", frozen, err)
		}
		return nil
	})
}

func failed(t *testing.T, s store.Store, _ func() store.Store) {
	_, err := s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Append([]byte("never")); err != nil {
			return err
		}
		return errors.Join(tx.PutTask(store.Task{ID: "t"}), errStop)
	})
	if !errors.Is(err, errStop) {
		t.Fatalf("got %v", err)
	}
	nothing(t, s)
}

func panics(t *testing.T, s store.Store, _ func() store.Store) {
	_, err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutTask(store.Task{ID: "t"}); err != nil {
			return err
		}
		panic("boom")
	})
	if err == nil {
		t.Fatal("a panic was no error")
	}
	nothing(t, s)
}

func nothing(t *testing.T, s store.Store) {
	t.Helper()
	view(t, s, func(r store.Reader) error {
		if _, err := r.Task("t"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the task is there: %v", err)
		}
		h, err := r.Head()
		if h.Size != 0 || err != nil {
			t.Errorf("head %+v, %v", h, err)
		}
		return nil
	})
	// And the store goes on.
	if h := update(t, s, func(tx store.Tx) error { _, err := tx.Append([]byte("a")); return err }); h.Size != 1 {
		t.Errorf("size %d after a failed update and a good one", h.Size)
	}
}

func ledger(t *testing.T, s store.Store, _ func() store.Store) {
	var heads []store.Head
	for i := range 300 {
		heads = append(heads, update(t, s, func(tx store.Tx) error {
			idx, err := tx.Append(fmt.Appendf(nil, "leaf %d", i))
			if idx != int64(i) {
				t.Errorf("leaf %d has index %d", i, idx)
			}
			return err
		}))
	}
	view(t, s, func(r store.Reader) error {
		root, err := tlog.TreeHash(300, r)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("300 %s", root); string(heads[299].Checkpoint) != want {
			t.Errorf("head %q, want %q", heads[299].Checkpoint, want)
		}
		for _, i := range []int64{0, 1, 127, 255, 256, 299} {
			leaf, err := r.Record(i)
			if err != nil {
				return err
			}
			proof, err := tlog.ProveRecord(300, i, r)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, 300, root, i, tlog.RecordHash(leaf)); err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		}
		some, err := r.Records(298, 10)
		if err != nil || len(some) != 2 || string(some[1]) != "leaf 299" {
			t.Errorf("records %q, %v", some, err)
		}
		if _, err := r.Record(300); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a record past the end: %v", err)
		}
		return nil
	})
}

func concurrent(t *testing.T, s store.Store, _ func() store.Store) {
	const writers, each = 16, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fail := i%5 == 4 // a failing neighbour in a batch costs nobody else
				_, err := s.Update(context.Background(), func(tx store.Tx) error {
					if _, err := tx.Append(fmt.Appendf(nil, "%d/%d", w, i)); err != nil {
						return err
					}
					if fail {
						return errStop
					}
					return nil
				})
				if fail != errors.Is(err, errStop) || !fail && err != nil {
					t.Errorf("writer %d, update %d: %v", w, i, err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r store.Reader) error {
		h, err := r.Head()
		if err != nil {
			return err
		}
		if want := int64(writers * each * 4 / 5); h.Size != want {
			t.Errorf("size %d, want %d", h.Size, want)
		}
		root, err := tlog.TreeHash(h.Size, r)
		if string(h.Checkpoint) != fmt.Sprintf("%d %s", h.Size, root) {
			t.Errorf("the checkpoint is not the tree's: %v", err)
		}
		seen := map[string]bool{}
		leaves, err := r.Records(0, int(h.Size)+1)
		for _, l := range leaves {
			seen[string(l)] = true
		}
		if int64(len(seen)) != h.Size {
			t.Errorf("%d distinct leaves of %d", len(seen), h.Size)
		}
		return err
	})
}

func bucket(t *testing.T, s store.Store, _ func() store.Store) {
	now := time.Unix(1_800_000_000, 0)
	var mu sync.Mutex
	allowed := 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := s.Update(context.Background(), func(tx store.Tx) error {
				wait, err := tx.TakeToken("k", now, time.Second, 10)
				if err == nil && wait == 0 {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if allowed != 10 {
		t.Errorf("%d allowed of a burst of 10", allowed)
	}
	update(t, s, func(tx store.Tx) error {
		if wait, err := tx.TakeToken("k", now, time.Second, 10); wait != time.Second || err != nil {
			t.Errorf("wait %v, %v", wait, err)
		}
		if wait, err := tx.TakeToken("k", now.Add(time.Second), time.Second, 10); wait != 0 || err != nil {
			t.Errorf("after the wait: %v, %v", wait, err)
		}
		ahead := now.Add(time.Hour)
		if wait, err := tx.TakeToken("jump", ahead, time.Second, 10); wait != 0 || err != nil {
			t.Errorf("in a clock's jump: %v, %v", wait, err)
		}
		for i, want := range []time.Duration{0, time.Second, 0} { // one token, none, and one after the wait
			at := now.Add(time.Duration(i/2) * time.Second)
			if wait, err := tx.TakeToken("jump", at, time.Second, 10); wait != want || err != nil {
				t.Errorf("after a clock was put right, try %d: %v, want %v, %v", i, wait, want, err)
			}
		}
		if wait, err := tx.TakeToken("other", now, time.Second, 10); wait != 0 || err != nil {
			t.Errorf("another key: %v, %v", wait, err)
		}
		return nil
	})
}

func survives(t *testing.T, s store.Store, again func() store.Store) {
	h := update(t, s, func(tx store.Tx) error {
		_, err := tx.Append([]byte("a"))
		return errors.Join(err, tx.PutTask(store.Task{ID: "t"}), tx.SetFrozen("a", "why", true))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = again()
	view(t, s, func(r store.Reader) error {
		got, err := r.Head()
		if err != nil || string(got.Checkpoint) != string(h.Checkpoint) {
			t.Errorf("head %+v, %v", got, err)
		}
		_, frozen, err := r.Frozen("a")
		if err != nil || !frozen {
			t.Errorf("the freeze was forgotten: %v", err)
		}
		_, err = r.Task("t")
		return err
	})
}

func closed(t *testing.T, s store.Store, _ func() store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("update: %v", err)
	}
	if err := s.View(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("view: %v", err)
	}
}
