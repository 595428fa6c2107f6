package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// walk goes over one table or index, in steps, and looks at each row.
type walk struct {
	name string
	// step looks at up to limit rows after a key, nil to begin, and returns the last
	// one's; nil at the end.
	step func(r *reader, after []any, limit int) (last []any, err error)
}

// walks cover the whole database: each row against its sum and its columns, what one row
// needs of another, each record against the tree, and each index's pages.
func walks() []walk {
	out := []walk{
		{"frozen", freezes.step(nil)}, {"sweeps", sweeps.step(nil)},
		{"grants", grants.step(checkGrant)}, {"issuances", issuances.step(checkIssuance)}, {"work", works.step(checkWork)},
		{"tasks", tasks.step(nil)}, {"approvals", approvals.step(checkApproval)},
		{"idempotency", keys.step(checkKey)}, {"cooling", coolings.step(nil)}, {"buckets", buckets.step(nil)},
		{"records", stepRecords},
	}
	for _, i := range indexes() {
		out = append(out, walk{i.name, i.step})
	}
	return out
}

// step is the walk over a table. check looks further; nil does not.
func (tb table[T]) step(check func(*reader, T) error) func(*reader, []any, int) ([]any, error) {
	key, marks := strings.Join(tb.cols[:tb.keys], ", "), strings.TrimSuffix(strings.Repeat("?, ", tb.keys), ", ")
	if tb.index != "" {
		key, marks = "rowid", "?" // by the table itself: an index does not name what it has lost
	}
	from := "SELECT " + tb.all + " FROM " + tb.name + " WHERE true"
	if tb.part != "" {
		from = "SELECT " + tb.all + " FROM " + tb.name + " WHERE " + tb.part + " IS NOT NULL"
	}
	order := " ORDER BY " + key + " LIMIT ?"
	on := from + " AND (" + key + ") > (" + marks + ")" + order
	return func(r *reader, after []any, limit int) (last []any, err error) {
		query := from + order
		if after != nil {
			query = on
		}
		var rows []T
		var rowids []any
		err = r.c.each(query, func(s *sqlite.Stmt) error {
			v, err := tb.decode(s)
			if err != nil {
				return err
			}
			rows, last = append(rows, v), tb.row(v)[:tb.keys]
			if tb.index != "" {
				last = []any{s.ColumnInt64(s.ColumnCount() - 1)}
				rowids = append(rowids, last[0])
			}
			return nil
		}, append(slices.Clone(after), limit)...)
		if err != nil {
			return nil, err
		}
		for i, at := range rowids {
			if err := r.c.judge(r.needs(fmt.Sprintf("row %v by its key", at), tb.entry(rows[i], at))); err != nil {
				return nil, err
			}
		}
		for _, v := range rows {
			if check == nil {
				break
			}
			if err := r.c.judge(check(r, v)); err != nil {
				return nil, err
			}
		}
		if len(rows) < limit {
			return nil, nil
		}
		return last, nil
	}
}

// holds says whether a column holds a value.
func holds(s *sqlite.Stmt, col int, want any) bool {
	switch v := want.(type) {
	case nil:
		return s.ColumnIsNull(col)
	case string:
		return s.ColumnType(col) == sqlite.TypeText && s.ColumnText(col) == v
	case bool:
		return s.ColumnType(col) == sqlite.TypeInteger && s.ColumnInt64(col) == map[bool]int64{true: 1}[v]
	case int64:
		return s.ColumnType(col) == sqlite.TypeInteger && s.ColumnInt64(col) == v
	}
	return false
}

// has says whether a query has a row.
func (r *reader) has(query string, args ...any) (bool, error) {
	err := r.c.one("SELECT 1 FROM "+query, func(*sqlite.Stmt) error { return nil }, args...)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// need is a row, or an index's entry, that another one needs.
type need struct {
	query string
	args  []any
}

func (r *reader) needs(what string, all ...need) error {
	for _, n := range all {
		switch ok, err := r.has(n.query, n.args...); {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("%w: %s is not in %s", store.ErrDamaged, what, strings.Fields(n.query)[0])
		}
	}
	return nil
}

func checkGrant(r *reader, g store.Grant) error {
	if !g.State.Open() {
		return r.needs("the ended grant "+g.ID, need{"grants INDEXED BY grants_ended WHERE live = 0 AND agent = ? AND id = ?", []any{g.Agent, g.ID}})
	}
	return r.needs("what the open grant "+g.ID+" needs",
		need{"tasks WHERE id = ?", []any{g.TaskID}},
		need{"grants INDEXED BY grants_open WHERE live = 1 AND agent = ? AND task = ? AND id = ?", []any{g.Agent, g.TaskID, g.ID}},
		need{"grants INDEXED BY grants_live WHERE live = 1 AND expires = ? AND id = ?", []any{g.ExpiresAt.UnixNano(), g.ID}})
}

func checkIssuance(r *reader, i store.Issuance) error {
	needs := []need{
		{"grants WHERE id = ?", []any{i.GrantID}},
		{"issuances INDEXED BY issuances_id WHERE grant_id = ? AND id = ? AND (work IS NULL) = (work_sum IS NULL)", []any{i.GrantID, i.ID}},
	}
	if i.Index > 0 {
		needs = append(needs, need{"records WHERE idx = ?", []any{i.Index}})
	}
	live := i.State == store.IssuanceIntended
	if i.State == store.IssuanceIssued {
		var err error
		if live, err = r.has("grants WHERE id = ? AND live = 1", i.GrantID); err != nil {
			return err
		}
	}
	if live {
		switch w, err := one(r, works, i.GrantID, i.ID); {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		case err != nil || !w.DoneAt.IsZero():
			return fmt.Errorf("%w: the credential of issuance %s has no work that ends it", store.ErrDamaged, i.ID)
		}
	}
	return r.needs("what the issuance "+i.ID+" needs", needs...)
}

func checkWork(r *reader, w store.Work) error {
	if w.Held || !w.DoneAt.IsZero() {
		return nil
	}
	return r.needs("the revocation "+w.ID,
		need{"issuances INDEXED BY issuances_due WHERE due = ? AND grant_id = ? AND id = ?", []any{dueAt(w.NextAt, w.Urgent), w.GrantID, w.ID}})
}

// checkKey looks for the issuance that a key made: its row has all that would tell that it is
// lost. Of what has ended nearly as long ago as is needed to be pruned, it may be gone.
func checkKey(r *reader, k store.Idempotency) error {
	grant, made, _ := strings.Cut(k.Result, " ")
	if !strings.HasPrefix(made, "iss_") {
		return nil
	}
	switch young, err := r.has("grants WHERE id = ? AND (live = 1 OR json_extract(body, '$.EndedAt') NOT BETWEEN '0002' AND ?)", grant, before(time.Now().Add(-23*time.Hour))); {
	case err != nil:
		return err
	case !young:
		return nil
	}
	return r.needs("what a key of "+k.Agent+" has made", need{"issuances WHERE grant_id = ? AND id = ?", []any{grant, made}})
}

func checkApproval(r *reader, a store.Approval) error {
	return r.needs("the grant of an approval", need{"grants WHERE id = ?", []any{a.GrantID}})
}

// index is one index, whose pages are read by counting what it holds.
type index struct{ name, table, where string }

func indexes() []index {
	return []index{
		{"grants_id", "grants", ""}, {"grants_ended", "grants", "WHERE live = 0"}, {"grants_live", "grants", "WHERE live = 1"}, {"grants_open", "grants", "WHERE live = 1"},
		{"grants_delegated", "grants", "WHERE live = 1 AND delegate <> ''"},
		{"grants_waiting", "grants", "WHERE waiter IS NOT NULL"},
		{"issuances_id", "issuances", ""}, {"issuances_due", "issuances", "WHERE due IS NOT NULL"},
	}
}

func (i index) step(r *reader, _ []any, _ int) ([]any, error) {
	return nil, r.c.exec("SELECT count(*) FROM " + i.table + " INDEXED BY " + i.name + " " + i.where)
}
