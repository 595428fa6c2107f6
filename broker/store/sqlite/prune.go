package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// pruneStep goes over one table in the order of its key.
type pruneStep struct {
	name string
	run  func(t *tx, p store.Prune, after string, limit int) (next string, err error)
}

// pruneSteps are in the order in which one thing stops needing another.
func pruneSteps() []pruneStep {
	return []pruneStep{
		{"keys", (*tx).pruneKeys}, {"grants", (*tx).pruneGrants},
		{"tasks", (*tx).pruneTasks}, {"buckets", (*tx).pruneBuckets},
		{"cooling", (*tx).pruneCooling}, {"sweeps", (*tx).pruneSweeps},
	}
}

// Prune implements store.Tx. from is a step's name, a space, and the key after
// which to go on in its table.
func (t *tx) Prune(p store.Prune, from string, limit int) (string, error) {
	if limit < 1 {
		return "", fmt.Errorf("pruning: a limit of %d rows", limit)
	}
	steps := pruneSteps()
	name, after, _ := strings.Cut(from, " ")
	for i, s := range steps {
		if s.name != name && from != "" {
			continue
		}
		next, err := s.run(t, p, after, limit)
		switch {
		case err != nil:
			return "", err
		case next != "":
			return s.name + " " + next, nil
		case i+1 < len(steps):
			return steps[i+1].name + " ", nil
		}
		return "", nil
	}
	return "", fmt.Errorf("pruning: it cannot go on from %q", from)
}

// last returns the limit-th row after a key, the last that may be looked at in
// one call, and a time of its. Past the end of the table end is true.
func (t *tx) last(query string, limit int, args ...any) (key, at string, end bool, err error) {
	err = t.row(query+" LIMIT 1 OFFSET ?", func(s *sqlite.Stmt) error {
		key, at = s.ColumnText(0), s.ColumnText(1)
		return nil
	}, append(args, limit-1)...)
	if errors.Is(err, store.ErrNotFound) {
		return "", "", true, nil
	}
	return key, at, false, err
}

// upTo is the last key of a call; at the end of a table a blob, which SQLite sorts
// after every text.
func upTo(key string, end bool) any {
	if end {
		return []byte{}
	}
	return key
}

// before is t as bodies spell it, cut off after the seconds: text that is less
// is of an earlier second.
func before(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }

// never is more than any time. A zero time begins with year 1, and has not come.
const never = "9999"

func (t *tx) pruneKeys(p store.Prune, after string, limit int) (string, error) {
	if p.Keys.IsZero() {
		return "", nil
	}
	agent, key, _ := strings.Cut(after, " ") // a SPIFFE ID has no space
	toAgent, toKey, end, err := t.last("SELECT agent, key FROM idempotency WHERE (agent, key) > (?, ?) ORDER BY agent, key", limit, agent, key)
	if err != nil {
		return "", err
	}
	err = t.exec(`DELETE FROM idempotency WHERE (agent, key) > (?1, ?2) AND (agent, key) <= (?3, ?4) AND at < ?7 AND coalesce(
  (SELECT iif(live = 1 OR json_extract(g.body, '$.EndedAt') < '0002', ?6, json_extract(g.body, '$.EndedAt')) FROM grants g
    WHERE g.id = substr(result, 1, instr(result || ' ', ' ') - 1)),
  (SELECT iif(json_extract(k.body, '$.ClosedAt') < '0002', ?6, json_extract(k.body, '$.ClosedAt')) FROM tasks k
    WHERE k.id = substr(result, 1, instr(result || ' ', ' ') - 1)),
  '') < ?5`, agent, key, upTo(toAgent, end), toKey, before(p.Keys), never, p.Keys.UnixNano())
	if err != nil || end {
		return "", err
	}
	return toAgent + " " + toKey, nil
}

func (t *tx) pruneGrants(p store.Prune, after string, limit int) (string, error) {
	if p.Ended.IsZero() {
		return "", nil
	}
	to, asked, end, err := t.last("SELECT id, json_extract(body, '$.RequestedAt') FROM grants WHERE id > ? ORDER BY id", limit, after)
	if err != nil {
		return "", err
	}
	old, ended, err := t.list(`SELECT id FROM grants WHERE id > ? AND id <= ? AND live = 0 AND json_extract(body, '$.EndedAt') BETWEEN '0002' AND ?
AND NOT EXISTS (SELECT 1 FROM issuances i
  WHERE i.grant_id = grants.id AND (i.state = 'intended' OR json_extract(i.work, '$.DoneAt') < '0002'))`, after, upTo(to, end), before(p.Ended))
	if err != nil || ended == 0 {
		return stop(to, asked, p.Ended), err
	}
	if err := t.exec("DELETE FROM issuances WHERE rowid IN (SELECT rowid FROM issuances WHERE grant_id IN (SELECT value FROM json_each(?)) LIMIT ?)", old, limit); err != nil {
		return "", err
	}
	n := t.c.c.Changes()
	if err := errors.Join(
		t.exec(`DELETE FROM grants WHERE id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM issuances WHERE grant_id = grants.id)`, old),
		t.exec(`DELETE FROM approvals WHERE grant_id IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM grants WHERE id = grant_id)`, old),
	); err != nil {
		return "", err
	}
	if n == limit {
		return again(after), nil // there may be more of these grants' issuances
	}
	return stop(to, asked, p.Ended), nil
}

// again is where to go on for the same rows: an empty text would end the table.
func again(after string) string {
	if after == "" {
		return "\x00"
	}
	return after
}

// stop ends a table early: ids count up, so what follows a row that was made
// after the cut was made after it too.
func stop(key, made string, cut time.Time) string {
	if made >= before(cut) {
		return ""
	}
	return key
}

func (t *tx) pruneTasks(p store.Prune, after string, limit int) (string, error) {
	if p.Ended.IsZero() {
		return "", nil
	}
	to, opened, end, err := t.last("SELECT id, json_extract(body, '$.OpenedAt') FROM tasks WHERE id > ? ORDER BY id", limit, after)
	if err != nil {
		return "", err
	}
	return stop(to, opened, p.Ended), t.exec(`DELETE FROM tasks WHERE id > ? AND id <= ? AND json_extract(body, '$.ClosedAt') BETWEEN '0002' AND ?
AND NOT EXISTS (SELECT 1 FROM grants WHERE agent = json_extract(tasks.body, '$.Agent') AND task = tasks.id AND live = 1)`, after, upTo(to, end), before(p.Ended))
}

func (t *tx) pruneBuckets(p store.Prune, after string, limit int) (string, error) {
	if p.Now.IsZero() {
		return "", nil
	}
	to, _, end, err := t.last("SELECT key, '' FROM buckets WHERE key > ? ORDER BY key", limit, after)
	if err != nil {
		return "", err
	}
	return to, t.exec("DELETE FROM buckets WHERE key > ? AND key <= ? AND tat <= ?", after, upTo(to, end), p.Now.UnixNano())
}

func (t *tx) pruneCooling(p store.Prune, after string, limit int) (string, error) {
	if p.Now.IsZero() {
		return "", nil
	}
	to, _, end, err := t.last("SELECT key, '' FROM cooling WHERE key > ? ORDER BY key", limit, after)
	if err != nil {
		return "", err
	}
	return to, t.exec("DELETE FROM cooling WHERE key > ? AND key <= ? AND until <= ?", after, upTo(to, end), p.Now.UnixNano())
}

func (t *tx) pruneSweeps(p store.Prune, after string, limit int) (string, error) {
	if p.Keys.IsZero() {
		return "", nil
	}
	to, _, end, err := t.last("SELECT id, '' FROM sweeps WHERE id > ? ORDER BY id", limit, after)
	if err != nil {
		return "", err
	}
	return to, t.exec("DELETE FROM sweeps WHERE id > ? AND id <= ? AND open = 0 AND json_extract(body, '$.DoneAt') < ?",
		after, upTo(to, end), before(p.Keys))
}

// list returns the ids of a query as a JSON array, for json_each, and how many
// they are.
func (t *tx) list(query string, args ...any) (array string, n int, err error) {
	ids := []string{}
	err = t.c.each(query, func(s *sqlite.Stmt) error {
		ids = append(ids, s.ColumnText(0))
		return nil
	}, args...)
	if err != nil {
		return "", 0, unavailable("reading", err)
	}
	raw, err := json.Marshal(ids)
	return string(raw), len(ids), err
}
