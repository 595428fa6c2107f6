package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
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
	began, told := time.Now(), time.Now()
	for done := 0; done < h.grants; done += fillBatch {
		_, err := db.Update(t.ctx, func(tx store.Tx) error {
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
func past(tx store.Tx, i int, live bool) error {
	now := time.Now().UTC()
	agent := fmt.Sprintf("spiffe://%s/agent/user%d/s", trustDomain, i%1000)
	ends := now.Add(-time.Hour)
	state, issued := store.GrantExpired, store.IssuanceIssued
	if live {
		ends, state = now.Add(time.Hour), store.GrantActive
	}
	// Ids that sort by time, as the broker's do.
	id := fmt.Sprintf("%010d%s", i, rand.Text()[:16])
	task := store.Task{ID: "task_" + id, Agent: agent, Purpose: "measure", Environment: "staging", OpenedAt: now}
	if !live {
		task.ClosedAt = ends
	}
	g := store.Grant{
		ID: "grant_" + id, TaskID: task.ID, Agent: agent, Scope: scopeName, ScopeVersion: "sha256:" + id, Params: query().Params,
		Tier: "read", Digest: id + id, State: state, TTL: 15 * time.Minute, RequestedAt: ends.Add(-15 * time.Minute), ExpiresAt: ends,
	}
	handle := fmt.Appendf(nil, `{"provider":"aws","role":"s3","session_name":%q,"not_after":%q}`, id, ends.Format(time.RFC3339))
	iss := store.Issuance{ID: "iss_" + id, GrantID: g.ID, Agent: agent, State: issued, Handle: handle, NotAfter: ends, At: now}
	record := ledger.Record{
		V: 1, Time: now,
		Issuance: iss.ID,
		Agent:    agent, Task: task.ID, Grant: g.ID, EnvelopeDigest: g.Digest, Decision: "allow", Tier: "read",
		Scope: scopeName + "@" + g.ScopeVersion, Params: g.Params, Service: "aws/s3",
	}
	for _, kind := range []string{grant.TaskOpened, grant.GrantCleared, grant.IssuanceIntended, grant.IssuanceIssued} {
		record.Type = kind
		leaf, err := record.Leaf()
		if err != nil {
			return err
		}
		if iss.Index, err = tx.Append(leaf); err != nil {
			return err
		}
	}
	err := errors.Join(tx.PutTask(task), tx.PutGrant(g), tx.PutIssuance(iss))
	if live {
		err = errors.Join(err, tx.PutWork(store.Work{ID: iss.ID, GrantID: g.ID, Agent: agent, Handle: handle, Held: true}))
	}
	if err != nil {
		return err
	}
	return tx.PutIdempotency(store.Idempotency{Agent: agent, Key: rand.Text(), Content: g.Digest, Result: g.ID, At: now})
}
