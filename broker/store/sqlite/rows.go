package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/store"
)

// reader implements store.Reader on any source of statements.
type reader struct {
	ctx context.Context
	q   func(ctx context.Context, query string) (*sql.Stmt, error)
}

// tx implements store.Tx on the writer's connection.
type tx struct {
	reader
	// n is the ledger's size inside the transaction.
	n int64
	// known are stored hashes that the transaction has read or written. Each new
	// record needs those at the tree's right edge again.
	known map[int64]tlog.Hash
}

func (r *reader) row(query string, dst []any, args ...any) error {
	s, err := r.q(r.ctx, query)
	if err != nil {
		return unavailable("preparing a query", err)
	}
	if err := s.QueryRowContext(r.ctx, args...).Scan(dst...); errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	} else if err != nil {
		return unavailable("reading", err)
	}
	return nil
}

func (r *reader) rows(query string, scan func(*sql.Rows) error, args ...any) (err error) {
	s, err := r.q(r.ctx, query)
	if err != nil {
		return unavailable("preparing a query", err)
	}
	rows, err := s.QueryContext(r.ctx, args...)
	if err != nil {
		return unavailable("reading", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return unavailable("reading", err)
		}
	}
	if err := rows.Err(); err != nil {
		return unavailable("reading", err)
	}
	return nil
}

func (t *tx) exec(query string, args ...any) error {
	s, err := t.q(t.ctx, query)
	if err != nil {
		return unavailable("preparing a write", err)
	}
	if _, err := s.ExecContext(t.ctx, args...); err != nil {
		return unavailable("writing", err)
	}
	return nil
}

func one[T any](r *reader, query string, args ...any) (v T, err error) {
	var body string
	if err := r.row(query, []any{&body}, args...); err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return v, unavailable("decoding a row", err)
	}
	return v, nil
}

func many[T any](r *reader, query string, args ...any) (vs []T, err error) {
	err = r.rows(query, func(rows *sql.Rows) error {
		var body string
		if err := rows.Scan(&body); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return err
		}
		vs = append(vs, v)
		return nil
	}, args...)
	return vs, err
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
	where, args := "1 = 1", []any{}
	add := func(cond string, arg any) { where += " AND " + cond; args = append(args, arg) }
	if f.TaskID != "" {
		add("task = ?", f.TaskID)
	}
	if f.Agent != "" {
		add("agent = ?", f.Agent)
	}
	if f.Live {
		where += " AND live = 1"
	}
	if !f.ExpiredBy.IsZero() {
		add("expires <= ?", f.ExpiredBy.UnixNano())
	}
	if f.Before != "" {
		add("id < ?", f.Before)
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	return many[store.Grant](r, "SELECT body FROM grants WHERE "+where+" ORDER BY id DESC LIMIT ?", append(args, f.Limit)...)
}

func (t *tx) PutGrant(v store.Grant) error {
	return t.put(`INSERT INTO grants (id, task, agent, live, expires, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET live = excluded.live, expires = excluded.expires, body = excluded.body`,
		v, v.ID, v.TaskID, v.Agent, v.State.Live(), v.ExpiresAt.UnixNano())
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
	return many[store.Work](r, "SELECT body FROM work WHERE due IS NOT NULL AND due <= ? ORDER BY due LIMIT ?", now.UnixNano(), limit)
}

func (t *tx) PutWork(v store.Work) error {
	var due any
	if v.DoneAt.IsZero() {
		due = v.NextAt.UnixNano()
	}
	return t.put("INSERT INTO work (id, due, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET due = excluded.due, body = excluded.body", v, v.ID, due)
}

func (r *reader) Idempotency(agent, key string) (store.Idempotency, error) {
	return one[store.Idempotency](r, "SELECT body FROM idempotency WHERE agent = ? AND key = ?", agent, key)
}

func (t *tx) PutIdempotency(v store.Idempotency) error {
	return t.put("INSERT INTO idempotency (agent, key, body) VALUES (?, ?, ?)", v, v.Agent, v.Key)
}

func (r *reader) Frozen(agent string) (string, bool, error) {
	var cause string
	err := r.row("SELECT cause FROM frozen WHERE agent = ?", []any{&cause}, agent)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return cause, err == nil, err
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
	err := t.row("SELECT tat FROM buckets WHERE key = ?", []any{&tat}, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	// No bucket is emptier than empty: a clock that jumped ahead and was put right
	// must not lock agents out for the length of the jump.
	at := min(max(tat, now.UnixNano()), now.UnixNano()+int64(burst)*int64(interval))
	if wait := at - now.UnixNano() - int64(burst-1)*int64(interval); wait > 0 {
		return time.Duration(wait), nil
	}
	return 0, t.exec("INSERT INTO buckets (key, tat) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat", key, at+int64(interval))
}

func (r *reader) size() (int64, error) {
	var n int64
	err := r.row("SELECT coalesce(max(idx) + 1, 0) FROM records", []any{&n})
	return n, err
}

func (r *reader) Head() (store.Head, error) {
	var h store.Head
	err := r.row("SELECT size, note FROM checkpoint", []any{&h.Size, &h.Checkpoint})
	if errors.Is(err, store.ErrNotFound) {
		return store.Head{}, nil
	}
	return h, err
}

func (r *reader) Record(index int64) ([]byte, error) {
	var data []byte
	err := r.row("SELECT data FROM records WHERE idx = ?", []any{&data}, index)
	return data, err
}

func (r *reader) Records(index int64, n int) (out [][]byte, err error) {
	err = r.rows("SELECT data FROM records WHERE idx >= ? ORDER BY idx LIMIT ?", func(rows *sql.Rows) error {
		var data []byte
		err := rows.Scan(&data)
		out = append(out, data)
		return err
	}, index, n)
	return out, err
}

func (t *tx) Append(leaf []byte) (int64, error) {
	hashes, err := tlog.StoredHashes(t.n, leaf, t)
	if err != nil {
		return 0, fmt.Errorf("hashing a record: %w", err)
	}
	if err := t.exec("INSERT INTO records (idx, data) VALUES (?, ?)", t.n, leaf); err != nil {
		return 0, err
	}
	for i, h := range hashes {
		at := tlog.StoredHashIndex(0, t.n) + int64(i)
		if err := t.exec("INSERT INTO hashes (idx, hash) VALUES (?, ?)", at, h[:]); err != nil {
			return 0, err
		}
		t.known[at] = h
	}
	t.n++
	return t.n - 1, nil
}

// ReadHashes implements tlog.HashReader.
func (t *tx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var missing []int64
	for i, at := range indexes {
		h, ok := t.known[at]
		if !ok {
			missing = append(missing, at)
		}
		out[i] = h
	}
	if len(missing) == 0 {
		return out, nil
	}
	read, err := t.reader.ReadHashes(missing)
	if err != nil {
		return nil, err
	}
	for i, at := range missing {
		t.known[at] = read[i]
	}
	for i, at := range indexes {
		out[i] = t.known[at]
	}
	return out, nil
}

// ReadHashes implements tlog.HashReader.
func (r *reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	ids, err := json.Marshal(indexes)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]tlog.Hash, len(indexes))
	err = r.rows("SELECT h.idx, h.hash FROM json_each(?) j JOIN hashes h ON h.idx = j.value", func(rows *sql.Rows) error {
		var i int64
		var b []byte
		if err := rows.Scan(&i, &b); err != nil {
			return err
		}
		if len(b) != tlog.HashSize {
			return fmt.Errorf("stored hash %d has %d bytes", i, len(b))
		}
		found[i] = tlog.Hash(b)
		return nil
	}, string(ids))
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(indexes))
	for i, idx := range indexes {
		h, ok := found[idx]
		if !ok {
			return nil, fmt.Errorf("%w: stored hash %d is missing", store.ErrUnavailable, idx)
		}
		out[i] = h
	}
	return out, nil
}
