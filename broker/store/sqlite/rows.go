package sqlite

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/merkle"
)

// reader implements store.Reader inside a transaction of its connection.
type reader struct {
	c conn
	// open is the store's; nil where it is not asked for.
	open *openIntents
	// read are the rowids of the rows that the op has read, by table and key, where it can write.
	// A row is written where it was read: one that its key does not find is not made again.
	read map[string]int64
}

// tx implements store.Tx on the writer's connection.
type tx struct {
	reader
	tree *merkle.Tree
	// unfrozen says that the transaction, which is the batch's, has found that nobody is
	// frozen and has frozen nobody; asked that it has looked. What an op has seen goes with
	// the op: see forget.
	unfrozen, asked bool
}

// forget has the next op look for itself: what was seen inside of an op that is rolled back
// need not be so.
func (t *tx) forget() { t.unfrozen, t.asked = false, false }

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

// decoded is tb.decode, and keeps where the row is.
func decoded[T any](r *reader, tb table[T], s *sqlite.Stmt) (v T, err error) {
	if v, err = tb.decode(s); err != nil || r.read == nil || tb.index == "" {
		return v, err
	}
	key, at := tb.key(tb.row(v)), s.ColumnInt64(s.ColumnCount()-1)
	if was, read := r.read[key]; read && was != at {
		return v, fmt.Errorf("%w: rows %d and %d of %s have the same key", store.ErrDamaged, was, at, tb.name)
	}
	r.read[key] = at
	return v, nil
}

func one[T any](r *reader, tb table[T], key ...any) (v T, err error) {
	err = r.row(tb.read, func(s *sqlite.Stmt) (err error) {
		if v, err = decoded(r, tb, s); err != nil {
			return err
		}
		if !slices.Equal(tb.row(v)[:tb.keys], key) {
			return fmt.Errorf("%w: a row of %s is found by the key of another", store.ErrDamaged, tb.name)
		}
		return nil
	}, key...)
	return v, err
}

// many reads the rows of a query, which follows "SELECT columns FROM table".
func many[T any](r *reader, tb table[T], query string, args ...any) (vs []T, err error) {
	err = r.c.each("SELECT "+tb.all+" FROM "+tb.name+" "+query, func(s *sqlite.Stmt) error {
		v, err := decoded(r, tb, s)
		vs = append(vs, v)
		return err
	}, args...)
	if err != nil {
		return nil, unavailable("reading", err)
	}
	return vs, nil
}

func at(s *sqlite.Stmt, col int) time.Time { return time.Unix(0, s.ColumnInt64(col)).UTC() }

func texts(r *reader, query string, args ...any) (out []string, err error) {
	err = r.c.each(query, func(s *sqlite.Stmt) error {
		out = append(out, s.ColumnText(0))
		return nil
	}, args...)
	if err != nil {
		return nil, unavailable("reading", err)
	}
	return out, nil
}

func put[T any](t *tx, tb table[T], v T) error {
	row, err := tb.encode(v)
	if err != nil {
		return err
	}
	if at, read := t.read[tb.key(row)]; read && tb.index != "" {
		return rewrite(t, tb, append(row, at))
	}
	switch err := t.exec(tb.upsert, row...); {
	case err != nil || t.c.c.Changes() > 0:
		return err
	case tb.part != "":
		return unavailable("writing", t.c.judge(fmt.Errorf("%w: there is no row of %s to have the %s of %v", store.ErrDamaged, tb.name, tb.part, row[:tb.keys])))
	}
	return t.exec(tb.upsertAll, row...)
}

// rewrite writes a row where it was read. row ends with its rowid.
func rewrite[T any](t *tx, tb table[T], row []any) error {
	for _, query := range []string{tb.rewrite, tb.rewriteAll} {
		if query == "" {
			continue
		}
		if err := t.exec(query, row...); err != nil || t.c.c.Changes() == 1 {
			return err
		}
	}
	return unavailable("writing", t.c.judge(fmt.Errorf("%w: row %v of %s was read, and is not there", store.ErrDamaged, row[len(row)-1], tb.name)))
}

// Task decodes each body once: a Task holds nothing that its readers could change for
// each other.
func (r *reader) Task(id string) (v store.Task, err error) {
	err = r.row(tasks.read, func(s *sqlite.Stmt) error {
		body, err := tasks.body(s)
		if err != nil {
			return err
		}
		var known bool
		if v, known = r.c.tasks[string(body)]; known {
			return tasks.matches(s, v)
		}
		if v, err = tasks.decode(s); err != nil {
			return err
		}
		if len(r.c.tasks) >= maxTasks {
			clear(r.c.tasks)
		}
		r.c.tasks[string(body)] = v
		return nil
	}, id)
	return v, err
}

func (t *tx) PutTask(v store.Task) error { return put(t, tasks, v) }

func (r *reader) Grant(id string) (store.Grant, error) { return one(r, grants, id) }

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
	if f.Subject != "" {
		add("waiter = ?", f.Subject)
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
	if f.Agent != "" && !f.Open { // of an agent, what is open and what has ended are in an index each
		where, args = "live = 1 AND "+where+" UNION ALL SELECT "+grants.all+" FROM grants WHERE live = 0 AND "+where, append(args, args...)
	}
	return many(r, grants, "WHERE "+where+" ORDER BY "+order+" LIMIT ?", append(args, f.Limit)...)
}

func (r *reader) Expired(now time.Time, limit int) (gs []store.Grant, err error) {
	err = sound(r, grants, lookup{index: "grants_live", where: "live = 1 AND expires <= ?", order: "expires", args: []any{now.UnixNano()}}, isOpen, func(g store.Grant) bool {
		gs = append(gs, g)
		return len(gs) < limit
	})
	return gs, err
}

func (r *reader) OpenIDs() (ids []string, err error) {
	err = sound(r, grants, lookup{index: "grants_open", where: "live = 1", order: "agent", whole: true}, isOpen, func(g store.Grant) bool {
		ids = append(ids, g.ID)
		return true
	})
	return ids, err
}

func isOpen(g store.Grant) bool { return g.State.Open() }

func (t *tx) PutGrant(v store.Grant) error { return put(t, grants, v) }

func (r *reader) Waiting(key, delegate string) (w store.Waiting, err error) {
	err = r.row(`SELECT count(*), coalesce(sum(waiter = ?), 0), coalesce(sum(delegate = ? AND delegate <> ''), 0) FROM grants WHERE waiter IS NOT NULL`,
		func(s *sqlite.Stmt) error {
			w = store.Waiting{All: s.ColumnInt(0), Key: s.ColumnInt(1), Delegate: s.ColumnInt(2)}
			return nil
		}, key, delegate)
	return w, err
}

func (r *reader) Cooling(key string) (until time.Time, err error) {
	c, err := one(r, coolings, key)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return c.Until, err
}

func (t *tx) PutCooling(key string, until time.Time) error {
	return put(t, coolings, store.Cooling{Key: key, Until: until})
}

func (r *reader) Approvals(grantID string) ([]store.Approval, error) {
	return many(r, approvals, "WHERE grant_id = ? ORDER BY person", grantID)
}

func (t *tx) PutApproval(v store.Approval) error { return put(t, approvals, v) }

func (r *reader) Issuance(grantID, id string) (store.Issuance, error) {
	return one(r, issuances, grantID, id)
}

func (r *reader) Issuances(f store.IssuanceFilter) ([]store.Issuance, error) {
	switch {
	case f.GrantID != "":
		all, err := many(r, issuances, "WHERE grant_id = ? ORDER BY id", f.GrantID)
		if err != nil {
			return all, err
		}
		var kept []store.Issuance
		for _, i := range all {
			if i.GrantID != f.GrantID {
				return nil, unavailable("reading", r.c.judge(fmt.Errorf("%w: an index has the issuance %s as another grant's", store.ErrDamaged, i.ID)))
			}
			if f.State == "" || i.State == f.State {
				kept = append(kept, i)
			}
		}
		return kept, nil
	case f.State == store.IssuanceIntended:
		return r.openOf(r.open.all())
	case f.State != "":
		return many(r, issuances, "WHERE state = ? ORDER BY id", string(f.State))
	}
	return many(r, issuances, "ORDER BY id")
}

func (r *reader) IssuanceIDs(grantID string) (ids []string, err error) {
	err = r.bothWays("SELECT id FROM issuances INDEXED BY issuances_id WHERE grant_id = ?", "id", func(s *sqlite.Stmt) error {
		ids = append(ids, s.ColumnText(0))
		return nil
	}, []any{grantID})
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return nil, unavailable("reading", err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func (r *reader) Minted(grantID string) (bool, error) {
	minted, err := r.has("issuances WHERE grant_id = ? AND state = ? LIMIT 1", grantID, string(store.IssuanceIssued))
	if err != nil {
		return false, unavailable("reading", err)
	}
	return minted, nil
}

func (t *tx) PutIssuance(v store.Issuance) error {
	err := put(t, issuances, v)
	if err == nil {
		t.open.put(v)
	}
	return err
}

func (r *reader) DueWork(now time.Time, urgent bool, limit int) ([]store.Work, error) {
	side := "due >= 0"
	if urgent {
		side = "due < 0"
	}
	due := []store.Work{}
	err := sound(r, works, lookup{
		index: "issuances_due", where: "due IS NOT NULL AND " + side + " AND (due <= ? OR due > ?)", order: "due",
		args: []any{dueAt(now, urgent), dueAt(now.Add(store.MaxPutOff), urgent)},
	}, func(w store.Work) bool { return !w.Held && w.DoneAt.IsZero() }, func(w store.Work) bool {
		due = append(due, w)
		return len(due) < limit
	})
	return due, err
}

// dueAt is the column by which work is found: nanoseconds, of which those of urgent work are below zero.
func dueAt(at time.Time, urgent bool) int64 {
	due := max(at.UnixNano(), 0)
	if urgent {
		due += math.MinInt64
	}
	return due
}

func (r *reader) Work(grantID, id string) (store.Work, error) { return one(r, works, grantID, id) }

func (r *reader) HeldWork() (held []store.Work, err error) {
	err = sound(r, works, lookup{where: `due IS NULL AND instr(work, '"Held":true') > 0`, order: "rowid"}, func(store.Work) bool { return true }, func(w store.Work) bool {
		if w.Held {
			held = append(held, w)
		}
		return true
	})
	return held, err
}

func (t *tx) PutWork(v store.Work) error { return put(t, works, v) }

func (r *reader) Idempotency(agent, key string) (store.Idempotency, error) {
	return one(r, keys, agent, key)
}

func (t *tx) PutIdempotency(v store.Idempotency) error {
	row, err := keys.encode(v)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO idempotency ("+keys.all+") VALUES (?, ?, ?, ?, ?, ?)", row...) // one that is there is a fault
}

func (r *reader) Frozen(agent string) (cause string, frozen bool, err error) {
	f, err := one(r, freezes, agent)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return f.Cause, err == nil, err
}

// Frozen looks once in a batch whether anybody is frozen: each grant asks nine times, for
// every path above its agent.
func (t *tx) Frozen(agent string) (cause string, frozen bool, err error) {
	if !t.asked {
		some, err := t.has("frozen LIMIT 1")
		if err != nil {
			return "", false, unavailable("reading", err)
		}
		t.unfrozen, t.asked = !some, true
	}
	if t.unfrozen {
		return "", false, nil
	}
	return t.reader.Frozen(agent)
}

func (t *tx) SetFrozen(agent, cause string, frozen bool) error {
	t.unfrozen, t.asked = false, true // from here on each row is read
	if !frozen {
		return t.exec("DELETE FROM frozen WHERE agent = ?", agent)
	}
	return put(t, freezes, store.Freeze{Agent: agent, Cause: cause})
}

func (r *reader) Bucket(key string) (full time.Time, err error) {
	b, err := one(r, buckets, key)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return time.Unix(0, b.tat).UTC(), err
}

func (t *tx) PutBucket(key string, full time.Time) error {
	return put(t, buckets, bucket{key, full.UnixNano()})
}
