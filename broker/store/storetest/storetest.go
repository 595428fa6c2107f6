// Package storetest is the contract that every store.Store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		"a freeze is read where it was set": freezes,
		"rows come back as they were put":   rows,
		"a failed update leaves nothing":    failed,
		"a panic leaves nothing":            panics,
		"the ledger is a Merkle log":        ledger,
		"concurrent updates are serial":     concurrent,
		"buckets are read as they were put": bucket,
		"what was acknowledged survives":    survives,
		"a closed store refuses":            closed,
		"what is old is pruned":             prune,
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

// work puts an issuance with its work.
func work(tx store.Tx, w store.Work) error {
	w.GrantID = "g3"
	return errors.Join(tx.PutIssuance(store.Issuance{ID: w.ID, GrantID: w.GrantID, State: store.IssuanceIssued, Handle: w.Handle}), tx.PutWork(w))
}

func rows(t *testing.T, s store.Store, _ func() store.Store) {
	now := time.Now().UTC()
	update(t, s, func(tx store.Tx) error {
		_, err := tx.Append([]byte("a"))
		return errors.Join(err,
			tx.PutTask(store.Task{ID: "t1", Agent: "a", OpenedAt: now}),
			tx.PutGrant(store.Grant{ID: "g1", TaskID: "t1", Agent: "a", State: store.GrantActive, ExpiresAt: now}),
			tx.PutGrant(store.Grant{ID: "g2", TaskID: "t1", Agent: "b", Delegate: "spiffe://td/d/x", State: store.GrantCleared, ExpiresAt: now.Add(time.Hour)}),
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
			work(tx, store.Work{ID: "w1", NextAt: now, Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w2", NextAt: now, DoneAt: now, Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w3", NextAt: now.Add(store.MaxPutOff), Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w5", Urgent: true, NextAt: now, Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w6", Urgent: true, NextAt: now.Add(1), Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w7", Urgent: true, NextAt: now.Add(store.MaxPutOff + 1), Handle: []byte(`{}`)}),
			work(tx, store.Work{ID: "w4", NextAt: now.Add(store.MaxPutOff + 1), Handle: []byte(`{}`)}), // by a clock that was ahead
			tx.PutIdempotency(store.Idempotency{Agent: "a", Key: "k", Content: "c", Result: "g1"}),
			tx.SetFrozen("a", "why", true),
			tx.PutSweep(store.Sweep{ID: "s1", Path: store.Path{ID: "a"}}),
			tx.PutSweep(store.Sweep{ID: "s2", Owner: "o", DoneAt: now}),
		)
	})
	view(t, s, func(r store.Reader) error {
		for want, p := range map[string]store.Path{
			"[g1]": {ID: "a"}, "[]": {ID: "spiffe://td"}, "[g2]": {ID: "spiffe://td", Below: true}, "[g2] ": {ID: "spiffe://td/d/x"}, "[] ": {ID: "spiffe://td/d/", Below: true},
		} {
			gs, err := r.OpenUnder(p, 10)
			ids := []string{}
			for _, g := range gs {
				ids = append(ids, g.ID)
			}
			if got := fmt.Sprint(ids); err != nil || got != strings.TrimSpace(want) {
				t.Errorf("open under %+v: %v, %v, want %v", p, got, err, want)
			}
		}
		agents, err := r.OpenAgents("a", 10)
		if err != nil || fmt.Sprint(agents) != "[b c]" {
			t.Errorf("open agents after a: %v, %v", agents, err)
		}
		judged, err := r.JudgedBy("p1", "", 10)
		if err != nil || len(judged) != 0 {
			t.Errorf("judged by p1 and live: %v, %v", judged, err)
		}
		open, err := r.OpenSweeps()
		if err != nil || len(open) != 1 || open[0].ID != "s1" {
			t.Errorf("open sweeps %+v, %v", open, err)
		}
		if s, err := r.Sweep("s2"); err != nil || s.Owner != "o" {
			t.Errorf("sweep %+v, %v", s, err)
		}
		return err
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
			"[g4]": {Pending: true}, "[g4] ": {TaskID: "t3", Open: true, Limit: -1}, "[g2 g1] ": {Before: "g3"},
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
		if gs, err := r.Expired(now, 10); err != nil || len(gs) != 1 || gs[0].ID != "g1" {
			t.Errorf("expired %+v, %v", gs, err)
		}
		ids, err := r.OpenIDs()
		if slices.Sort(ids); err != nil || !slices.Equal(ids, []string{"g1", "g2", "g4"}) {
			t.Errorf("open %v, %v", ids, err)
		}
		if held, err := r.HeldWork(); err != nil || len(held) != 0 {
			t.Errorf("held %+v, %v", held, err)
		}
		for id, want := range map[string]bool{"g1": true, "g2": false} {
			if minted, err := r.Minted(id); err != nil || minted != want {
				t.Errorf("minted %s: %v, %v", id, minted, err)
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
		due, err := r.DueWork(now, false, 10)
		if err != nil || len(due) != 2 || due[0].ID != "w1" || due[1].ID != "w4" {
			t.Errorf("due %+v, %v", due, err)
		}
		due, err = r.DueWork(now, true, 10)
		if err != nil || len(due) != 2 || due[0].ID != "w5" || due[1].ID != "w7" {
			t.Errorf("due and urgent %+v, %v", due, err)
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

// freezes holds what a transaction reads of a freeze against what it has done, and what
// others did and took back.
func freezes(t *testing.T, s store.Store, _ func() store.Store) {
	is := func(r store.Reader, want bool) {
		t.Helper()
		if _, frozen, err := r.Frozen("a"); err != nil || frozen != want {
			t.Errorf("frozen %v, %v, want %v", frozen, err, want)
		}
	}
	update(t, s, func(tx store.Tx) error {
		is(tx, false)
		err := tx.SetFrozen("a", "why", true)
		is(tx, true)
		return err
	})
	update(t, s, func(tx store.Tx) error {
		is(tx, true)
		err := tx.SetFrozen("a", "", false)
		is(tx, false)
		return err
	})
	if _, err := s.Update(t.Context(), func(tx store.Tx) error {
		is(tx, false)
		return errors.Join(errStop, tx.SetFrozen("a", "why", true))
	}); !errors.Is(err, errStop) {
		t.Errorf("got %v", err)
	}
	update(t, s, func(tx store.Tx) error { is(tx, false); return nil })
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

// proves holds what a head says of a record that was added with it against what is stored.
func proves(t *testing.T, s store.Store, h store.Head, at int64) {
	t.Helper()
	have, err := tlog.ProveRecord(h.Size, at, h.Hashes)
	if err := s.View(context.Background(), func(r store.Reader) error {
		leaf, lerr := r.Record(at)
		want, werr := tlog.ProveRecord(h.Size, at, r)
		root, rerr := tlog.TreeHash(h.Size, r)
		if err := errors.Join(err, lerr, werr, rerr); err != nil || !slices.Equal(have, want) {
			t.Errorf("record %d of %d: %v, %v, want %v", at, h.Size, err, have, want)
		}
		if string(h.Checkpoint) != fmt.Sprintf("%d %s", h.Size, root) {
			t.Errorf("checkpoint %q of size %d and root %v", h.Checkpoint, h.Size, root)
		}
		return tlog.CheckRecord(have, h.Size, root, at, tlog.RecordHash(leaf))
	}); err != nil {
		t.Errorf("record %d of %d: %v", at, h.Size, err)
	}
}

func concurrent(t *testing.T, s store.Store, _ func() store.Store) {
	const writers, each = 16, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fail := i%5 == 4 // a failing neighbour in a batch costs nobody else
				var at int64
				h, err := s.Update(context.Background(), func(tx store.Tx) (err error) {
					if at, err = tx.Append(fmt.Appendf(nil, "%d/%d", w, i)); err != nil {
						return err
					}
					if fail {
						return errStop
					}
					return nil
				})
				if err == nil {
					proves(t, s, h, at)
				}
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
	start := time.Unix(1_800_000_000, 0).UTC()
	var wg sync.WaitGroup
	for range 50 { // each reads what the one before it wrote
		wg.Go(func() {
			if _, err := s.Update(context.Background(), func(tx store.Tx) error {
				full, err := tx.Bucket("k")
				if full.IsZero() {
					full = start
				}
				return errors.Join(err, tx.PutBucket("k", full.Add(time.Second)))
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(r store.Reader) error {
		if full, err := r.Bucket("k"); err != nil || !full.Equal(start.Add(50*time.Second)) {
			t.Errorf("full at %v, %v", full, err)
		}
		if full, err := r.Bucket("other"); err != nil || !full.IsZero() {
			t.Errorf("another key: %v, %v", full, err)
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
