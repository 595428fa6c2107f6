package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// reader implements store.Reader inside a transaction of its connection.
type reader struct{ c conn }

// tx implements store.Tx on the writer's connection.
type tx struct {
	reader
	tree *tree
}

func (r *reader) row(query string, row func(*sqlite.Stmt) error, args ...any) error {
	err := r.c.one(query, row, args...)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return unavailable("reading", err)
	}
	return err
}

// errEnded means that SQLite has rolled the transaction back by itself, as it does
// where the disk is full.
var errEnded = errors.New("the database has ended the transaction")

// exec refuses to write outside of the transaction: SQLite would keep such a write
// by itself, whatever becomes of the rest.
func (t *tx) exec(query string, args ...any) error {
	if t.c.c.AutocommitEnabled() {
		return unavailable("writing", errEnded)
	}
	if err := t.c.exec(query, args...); err != nil {
		return unavailable("writing", err)
	}
	return nil
}

func decode[T any](s *sqlite.Stmt) (v T, err error) {
	if err := json.Unmarshal(blob(s, 0), &v); err != nil {
		return v, fmt.Errorf("decoding a row: %w", err)
	}
	return v, nil
}

func one[T any](r *reader, query string, args ...any) (v T, err error) {
	err = r.row(query, func(s *sqlite.Stmt) (err error) {
		v, err = decode[T](s)
		return err
	}, args...)
	return v, err
}

func many[T any](r *reader, query string, args ...any) (vs []T, err error) {
	err = r.c.each(query, func(s *sqlite.Stmt) error {
		v, err := decode[T](s)
		vs = append(vs, v)
		return err
	}, args...)
	if err != nil {
		return nil, unavailable("reading", err)
	}
	return vs, nil
}

// put writes a row whose last column is its JSON body.
func (t *tx) put(query string, body any, keys ...any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding a row: %w", err)
	}
	return t.exec(query, append(keys, string(b))...)
}

func (r *reader) Task(id string) (store.Task, error) {
	return one[store.Task](r, "SELECT body FROM tasks WHERE id = ?", id)
}

func (t *tx) PutTask(v store.Task) error {
	return t.put("INSERT INTO tasks (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body", v, v.ID)
}

func (r *reader) Grant(id string) (store.Grant, error) {
	return one[store.Grant](r, "SELECT body FROM grants WHERE id = ?", id)
}

func (r *reader) Grants(f store.GrantFilter) ([]store.Grant, error) {
	where, order, args := "1 = 1", "id DESC", []any{}
	if f.OldestFirst {
		order = "id"
	}
	add := func(cond string, arg any) { where += " AND " + cond; args = append(args, arg) }
	if f.TaskID != "" {
		add("task = ?", f.TaskID)
	}
	if f.Agent != "" {
		add("agent = ?", f.Agent)
	}
	if f.Open {
		where += " AND live = 1"
	}
	if f.Pending {
		where += " AND waiter IS NOT NULL"
	}
	if f.Key != "" {
		add("waiter = ?", f.Key)
	}
	if !f.ExpiredBy.IsZero() {
		add("expires <= ?", f.ExpiredBy.UnixNano())
		order = "+id DESC" // few are due: without the plus SQLite goes over all grants, to have them in order
	}
	if f.Before != "" {
		add("id < ?", f.Before)
	}
	if f.After != "" {
		add("id > ?", f.After)
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	return many[store.Grant](r, "SELECT body FROM grants WHERE "+where+" ORDER BY "+order+" LIMIT ?", append(args, f.Limit)...)
}

func (t *tx) PutGrant(v store.Grant) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a row: %w", err)
	}
	open, expires := v.State.Open(), v.ExpiresAt.UnixNano()
	var waiter, delegate any // NULL where nobody is waited for
	if v.State == store.GrantPending && v.Case != nil {
		waiter, delegate = v.Case.Key, v.Case.Delegate
	}
	return t.exec(`INSERT INTO grants (id, task, agent, live, waiter, delegate, expires, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET live = excluded.live, waiter = excluded.waiter, delegate = excluded.delegate, expires = excluded.expires, body = excluded.body`,
		v.ID, v.TaskID, v.Agent, open, waiter, delegate, expires, string(body))
}

func (r *reader) Waiting(key, delegate string) (w store.Waiting, err error) {
	err = r.row(`SELECT count(*), coalesce(sum(waiter = ?), 0), coalesce(sum(delegate = ? AND delegate <> ''), 0) FROM grants WHERE waiter IS NOT NULL`,
		func(s *sqlite.Stmt) error {
			w = store.Waiting{All: s.ColumnInt(0), Key: s.ColumnInt(1), Delegate: s.ColumnInt(2)}
			return nil
		}, key, delegate)
	return w, err
}

func (r *reader) Cooling(key string) (until time.Time, err error) {
	err = r.row("SELECT until FROM cooling WHERE key = ?", func(s *sqlite.Stmt) error {
		until = time.Unix(0, s.ColumnInt64(0)).UTC()
		return nil
	}, key)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return until, err
}

func (t *tx) PutCooling(key string, until time.Time) error {
	return t.exec("INSERT INTO cooling (key, until) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until", key, until.UnixNano())
}

func (r *reader) Approvals(grantID string) ([]store.Approval, error) {
	return many[store.Approval](r, "SELECT body FROM approvals WHERE grant_id = ? ORDER BY person", grantID)
}

func (t *tx) PutApproval(v store.Approval) error {
	return t.put("INSERT INTO approvals (grant_id, person, body) VALUES (?, ?, ?) ON CONFLICT (grant_id, person) DO UPDATE SET body = excluded.body", v, v.GrantID, v.Person)
}

func (r *reader) Issuance(id string) (store.Issuance, error) {
	return one[store.Issuance](r, "SELECT body FROM issuances WHERE id = ?", id)
}

func (r *reader) Issuances(f store.IssuanceFilter) ([]store.Issuance, error) {
	switch {
	case f.GrantID != "":
		all, err := many[store.Issuance](r, "SELECT body FROM issuances WHERE grant_id = ? ORDER BY id", f.GrantID)
		if f.State == "" || err != nil {
			return all, err
		}
		var kept []store.Issuance
		for _, i := range all {
			if i.State == f.State {
				kept = append(kept, i)
			}
		}
		return kept, nil
	case f.State == store.IssuanceIntended:
		return many[store.Issuance](r, "SELECT body FROM issuances WHERE state = 'intended' ORDER BY id")
	case f.State != "":
		return many[store.Issuance](r, "SELECT body FROM issuances WHERE state = ? ORDER BY id", string(f.State))
	}
	return many[store.Issuance](r, "SELECT body FROM issuances ORDER BY id")
}

func (t *tx) PutIssuance(v store.Issuance) error {
	return t.put(`INSERT INTO issuances (id, grant_id, state, body) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body`, v, v.ID, v.GrantID, string(v.State))
}

func (r *reader) DueWork(now time.Time, limit int) ([]store.Work, error) {
	return many[store.Work](r, "SELECT body FROM work WHERE due IS NOT NULL AND (due <= ? OR due > ?) ORDER BY due LIMIT ?",
		now.UnixNano(), now.Add(store.MaxPutOff).UnixNano(), limit)
}

func (t *tx) PutWork(v store.Work) error {
	var due any
	if v.DoneAt.IsZero() {
		due = v.NextAt.UnixNano()
	}
	return t.put("INSERT INTO work (id, due, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET due = excluded.due, body = excluded.body", v, v.ID, due)
}

func (r *reader) Idempotency(agent, key string) (v store.Idempotency, err error) {
	v.Agent, v.Key = agent, key
	err = r.row("SELECT content, result, at FROM idempotency WHERE agent = ? AND key = ?", func(s *sqlite.Stmt) error {
		v.Content, v.Result, v.At = s.ColumnText(0), s.ColumnText(1), time.Unix(0, s.ColumnInt64(2)).UTC()
		return nil
	}, agent, key)
	return v, err
}

func (t *tx) PutIdempotency(v store.Idempotency) error {
	return t.exec("INSERT INTO idempotency (agent, key, content, result, at) VALUES (?, ?, ?, ?, ?)", v.Agent, v.Key, v.Content, v.Result, v.At.UnixNano())
}

func (r *reader) Frozen(agent string) (cause string, frozen bool, err error) {
	err = r.row("SELECT cause FROM frozen WHERE agent = ?", func(s *sqlite.Stmt) error {
		cause, frozen = s.ColumnText(0), true
		return nil
	}, agent)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return cause, frozen, err
}

func (t *tx) SetFrozen(agent, cause string, frozen bool) error {
	if !frozen {
		return t.exec("DELETE FROM frozen WHERE agent = ?", agent)
	}
	return t.exec("INSERT INTO frozen (agent, cause) VALUES (?, ?) ON CONFLICT (agent) DO UPDATE SET cause = excluded.cause", agent, cause)
}

// TakeToken keeps the bucket as GCRA's theoretical arrival time: full when it
// is in the past, empty when it is burst-1 intervals or more ahead.
func (t *tx) TakeToken(key string, now time.Time, interval time.Duration, burst int) (time.Duration, error) {
	var tat int64
	err := t.row("SELECT tat FROM buckets WHERE key = ?", func(s *sqlite.Stmt) error { tat = s.ColumnInt64(0); return nil }, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	at := max(tat, now.UnixNano())
	if at > now.UnixNano()+int64(burst)*int64(interval) {
		// No bucket is emptier than empty: a clock was ahead and was put right. The
		// bucket gives its last token, which writes it down in the right time;
		// refused as it is, it would lock agents out for the length of the jump.
		at = now.UnixNano() + int64(burst-1)*int64(interval)
	}
	if wait := at - now.UnixNano() - int64(burst-1)*int64(interval); wait > 0 {
		return time.Duration(wait), nil
	}
	return 0, t.exec("INSERT INTO buckets (key, tat) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat", key, at+int64(interval))
}

func (r *reader) size() (n int64, err error) {
	err = r.row("SELECT coalesce(max(idx) + 1, 0) FROM records", func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil })
	return n, err
}

func (r *reader) Head() (h store.Head, err error) {
	err = r.row("SELECT size, note FROM checkpoint", func(s *sqlite.Stmt) error {
		h = store.Head{Size: s.ColumnInt64(0), Checkpoint: blob(s, 1)}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Head{}, nil
	}
	return h, err
}

func (r *reader) Record(index int64) (data []byte, err error) {
	err = r.row("SELECT data FROM records WHERE idx = ?", func(s *sqlite.Stmt) error { data = blob(s, 0); return nil }, index)
	return data, err
}

func (r *reader) Records(index int64, n int) (out [][]byte, err error) {
	err = r.c.each("SELECT data FROM records WHERE idx >= ? ORDER BY idx LIMIT ?", func(s *sqlite.Stmt) error {
		out = append(out, blob(s, 0))
		return nil
	}, index, n)
	if err != nil {
		return nil, unavailable("reading", err)
	}
	return out, nil
}

func (t *tx) Append(leaf []byte) (int64, error) {
	n := t.tree.size
	if err := t.tree.add(n, leaf); err != nil {
		return 0, err
	}
	if err := t.exec("INSERT INTO records (idx, data) VALUES (?, ?)", n, leaf); err != nil {
		t.tree.discard(n)
		return 0, err
	}
	return n, nil
}

// ReadHashes implements tlog.HashReader: what the batch has added is not
// written yet.
func (t *tx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		h, err := t.tree.onEdge(indexes[i : i+1])
		if err != nil {
			h, err = t.reader.ReadHashes([]int64{at})
		}
		if err != nil {
			return nil, err
		}
		out[i] = h[0]
	}
	return out, nil
}
