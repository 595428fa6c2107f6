package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/sqlite"
)

// fillBatch is how many grants one transaction of fill writes.
const fillBatch = 250

// history is what a daemon finds in its store when it starts.
type history struct {
	grants int
	// live says that they can still be minted from; else they have ended.
	live bool
}

// fill writes grants as the broker leaves them: with a task each, the issuance,
// an idempotency key, and their records.
func (t *bench) fill(dir string, h history) {
	if h.grants == 0 {
		return
	}
	key, err := ledger.LoadKey(filepath.Join(dir, "ledger.key"))
	t.must(err)
	db, err := sqlite.Open(t.ctx, sqlite.Config{Path: filepath.Join(dir, "valetkey.db"), Seal: key.Seal})
	t.must(err)
	l := ledger.New(db, time.Now)
	began, told := time.Now(), time.Now()
	for done := 0; done < h.grants; done += fillBatch {
		_, err := l.Commit(t.ctx, func(tx *ledger.Tx) error {
			for i := range fillBatch {
				if err := past(tx, done+i, h.live); err != nil {
					return err
				}
			}
			return nil
		})
		t.must(err)
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			t.Logf("filling the store: %d of %d grants", done, h.grants)
		}
	}
	t.must(db.Close())
	t.Logf("filled the store with %d grants in %v", h.grants, time.Since(began).Round(time.Second))
}

// past writes one grant of the past: of one of 1,000 agents, minted from once.
func past(tx *ledger.Tx, i int, live bool) error {
	agent := fmt.Sprintf("spiffe://%s/agent/user%d/s", trustDomain, i%1000)
	ends := tx.Now().Add(-time.Hour)
	state, issued := store.GrantExpired, store.IssuanceIssued
	if live {
		ends, state = tx.Now().Add(time.Hour), store.GrantActive
	}
	// Ids that sort by time, as the broker's do.
	id := fmt.Sprintf("%010d%s", i, rand.Text()[:16])
	task := store.Task{ID: "task_" + id, Agent: agent, Purpose: "measure", Environment: "staging", OpenedAt: tx.Now()}
	if !live {
		task.ClosedAt = ends
	}
	if err := tx.PutTask(task); err != nil {
		return err
	}
	g := store.Grant{
		ID: "grant_" + id, TaskID: task.ID, Agent: agent, Scope: scopeName, ScopeVersion: "sha256:" + id, Params: query().Params,
		Tier: "read", Digest: id + id, State: state, TTL: 15 * time.Minute, RequestedAt: ends.Add(-15 * time.Minute), ExpiresAt: ends,
	}
	if err := tx.PutGrant(g); err != nil {
		return err
	}
	record := ledger.Record{
		Agent: agent, Task: task.ID, Grant: g.ID, EnvelopeDigest: g.Digest, Decision: "allow", Tier: "read",
		Scope: scopeName + "@" + g.ScopeVersion, Params: g.Params, Service: "aws/s3",
	}
	for _, kind := range []string{ledger.TaskOpened, ledger.GrantCleared, ledger.IssuanceIntended, ledger.IssuanceIssued} {
		record.Type = kind
		if _, err := tx.Record(record); err != nil {
			return err
		}
	}
	handle := fmt.Appendf(nil, `{"provider":"aws","role":"s3","session_name":%q,"not_after":%q}`, id, ends.Format(time.RFC3339))
	iss := store.Issuance{ID: "iss_" + id, GrantID: g.ID, Agent: agent, State: issued, Handle: handle, NotAfter: ends, At: tx.Now()}
	if err := tx.PutIssuance(iss); err != nil {
		return err
	}
	return tx.PutIdempotency(store.Idempotency{Agent: agent, Key: rand.Text(), Content: g.Digest, Result: g.ID, At: tx.Now()})
}
