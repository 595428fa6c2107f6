package sqlite

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json/v1" // reads and writes what encoding/json does, in a third of its time for a row; text that is no UTF-8 is spelled otherwise
	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// table is how one kind of row is stored. Law: every row of every table ends with a
// sum over the rest of it, so that a byte that has changed in the file is found by
// whoever reads the row. Records and hashes have none: the Merkle tree is theirs.
type table[T any] struct {
	name string
	// cols are the columns before the body and the sum; the first keys of them are the
	// primary key.
	cols []string
	keys int
	// row are their values. They are made of v alone, so that the body's sum is theirs.
	row func(v T) []any
	// moves are the columns that are written each time. A row whose other columns stay
	// leaves their indexes alone: SQLite takes an entry out and puts it back for each
	// column that is set, whatever to.
	moves []string
	// plain rows have no body, and scan reads them.
	plain bool
	scan  func(s *sqlite.Stmt) T
	// part is the column of the body of what is only a part of another table's row, which has
	// to be there; empty for a row of its own. Its sum is in part_sum.
	part string

	// index is what finds a row of a table by rowid by its key; empty for a table that is ordered
	// by its key, so that a row is not there without it.
	index string

	// upsert writes a row whose columns but moves are those that are there, if any is;
	// of another it changes nothing, and upsertAll writes it. It is empty where upsert
	// always does.
	upsert, upsertAll string
	// rewrite and rewriteAll are likewise, of a row that was read, by its rowid.
	rewrite, rewriteAll string
	// all are the columns that are read, the rowid last where index is set.
	all, read string
}

func (tb table[T]) ready() table[T] {
	if tb.part != "" {
		return tb.readyPart()
	}
	cols := append([]string{}, tb.cols...)
	if !tb.plain {
		cols = append(cols, "body")
	}
	cols = append(cols, "sum")
	tb = tb.readyRead(cols)
	var set, some, same, where []string
	for i, c := range cols {
		switch to := c + " = excluded." + c; {
		case i < tb.keys:
			where = append(where, c+" = ?")
		case tb.written(i):
			some, set = append(some, to), append(set, to)
		default:
			same, set = append(same, tb.name+"."+c+" IS excluded."+c), append(set, to)
		}
	}
	tb.upsert = "INSERT INTO " + tb.name + " (" + strings.Join(cols, ", ") + ") VALUES (" + strings.TrimSuffix(strings.Repeat("?, ", len(cols)), ", ") +
		") ON CONFLICT (" + strings.Join(cols[:tb.keys], ", ") + ") DO UPDATE SET "
	if len(same) > 0 {
		tb.upsertAll = tb.upsert + strings.Join(set, ", ")
	}
	tb.upsert += strings.Join(some, ", ")
	if len(same) > 0 {
		tb.upsert += " WHERE " + strings.Join(same, " AND ")
	}
	tb.read = "SELECT " + tb.all + " FROM " + tb.name + " WHERE " + strings.Join(where, " AND ")
	return tb
}

// written says whether a column is written each time.
func (tb table[T]) written(col int) bool {
	return tb.plain || tb.part != "" || col >= len(tb.cols) || slices.Contains(tb.moves, tb.cols[col])
}

// readyRead is what reads columns, and writes a row that was read.
func (tb table[T]) readyRead(cols []string) table[T] {
	tb.all = strings.Join(cols, ", ")
	if tb.index == "" {
		return tb
	}
	tb.all += ", rowid"
	where, same := fmt.Sprintf(" WHERE rowid = ?%d", len(cols)+1), ""
	var some, set []string
	for i, c := range cols {
		to := fmt.Sprintf("%s = ?%d", c, i+1)
		switch {
		case i < tb.keys:
			where += " AND " + to
			continue
		case tb.written(i):
			some = append(some, to)
		default:
			same += fmt.Sprintf(" AND %s IS ?%d", c, i+1)
		}
		set = append(set, to)
	}
	tb.rewrite = "UPDATE " + tb.name + " SET " + strings.Join(some, ", ") + where + same
	if same != "" {
		tb.rewriteAll = "UPDATE " + tb.name + " SET " + strings.Join(set, ", ") + where
	}
	return tb
}

// key names a row in a transaction.
func (tb table[T]) key(row []any) string {
	key := tb.name
	for _, k := range row[:tb.keys] {
		text, _ := k.(string) // it is: other keys are of tables without rowids
		key += " " + text
	}
	return key
}

func (tb table[T]) readyPart() table[T] {
	cols := append(append([]string{}, tb.cols...), tb.part, tb.part+"_sum")
	var set, where []string
	for i, c := range cols {
		if is := fmt.Sprintf("%s = ?%d", c, i+1); i < tb.keys {
			where = append(where, is)
		} else {
			set = append(set, is)
		}
	}
	tb = tb.readyRead(cols)
	tb.upsert = "UPDATE " + tb.name + " SET " + strings.Join(set, ", ") + " WHERE " + strings.Join(where, " AND ")
	tb.read = "SELECT " + tb.all + " FROM " + tb.name + " WHERE " + strings.Join(where, " AND ") + " AND " + tb.part + " IS NOT NULL"
	return tb
}

var (
	tasks = table[store.Task]{name: "tasks", cols: []string{"id"}, keys: 1, row: func(v store.Task) []any { return []any{v.ID} }}.ready()

	grants = table[store.Grant]{
		name: "grants", index: "grants_id", cols: []string{"id", "task", "agent", "live", "waiter", "delegate", "expires"}, keys: 1,
		row: func(v store.Grant) []any {
			var waiter, delegate any // NULL where nobody is waited for, or speaks for the agent
			if v.State == store.GrantPending && v.Case != nil {
				waiter = v.Case.Subject
			}
			if v.Delegate != "" {
				delegate = v.Delegate
			}
			return []any{v.ID, v.TaskID, v.Agent, v.State.Open(), waiter, delegate, v.ExpiresAt.UnixNano()}
		},
	}.ready()

	issuances = table[store.Issuance]{
		name: "issuances", index: "issuances_id", cols: []string{"grant_id", "id", "state"}, keys: 2, moves: []string{"state"},
		row: func(v store.Issuance) []any { return []any{v.GrantID, v.ID, string(v.State)} },
	}.ready()

	works = table[store.Work]{
		name: "issuances", index: "issuances_id", cols: []string{"grant_id", "id", "due"}, keys: 2, part: "work",
		row: func(v store.Work) []any {
			if v.Held || !v.DoneAt.IsZero() {
				return []any{v.GrantID, v.ID, nil}
			}
			return []any{v.GrantID, v.ID, dueAt(v.NextAt, v.Urgent)}
		},
	}.ready()

	approvals = table[store.Approval]{
		name: "approvals", cols: []string{"grant_id", "person"}, keys: 2,
		row: func(v store.Approval) []any { return []any{v.GrantID, v.Person} },
	}.ready()

	sweeps = table[store.Sweep]{
		name: "sweeps", cols: []string{"id", "open"}, keys: 1, moves: []string{"open"},
		row: func(v store.Sweep) []any { return []any{v.ID, v.DoneAt.IsZero()} },
	}.ready()

	coolings = table[store.Cooling]{
		name: "cooling", cols: []string{"key", "until"}, keys: 1, plain: true,
		row:  func(v store.Cooling) []any { return []any{v.Key, v.Until.UnixNano()} },
		scan: func(s *sqlite.Stmt) store.Cooling { return store.Cooling{Key: s.ColumnText(0), Until: at(s, 1)} },
	}.ready()

	keys = table[store.Idempotency]{
		name: "idempotency", cols: []string{"agent", "key", "content", "result", "at"}, keys: 2, plain: true,
		row: func(v store.Idempotency) []any { return []any{v.Agent, v.Key, v.Content, v.Result, v.At.UnixNano()} },
		scan: func(s *sqlite.Stmt) store.Idempotency {
			return store.Idempotency{Agent: s.ColumnText(0), Key: s.ColumnText(1), Content: s.ColumnText(2), Result: s.ColumnText(3), At: at(s, 4)}
		},
	}.ready()

	freezes = table[store.Freeze]{
		name: "frozen", cols: []string{"agent", "cause"}, keys: 1, plain: true,
		row: func(v store.Freeze) []any { return []any{v.Agent, v.Cause} },
		scan: func(s *sqlite.Stmt) store.Freeze {
			return store.Freeze{Agent: s.ColumnText(0), Cause: s.ColumnText(1), Frozen: true}
		},
	}.ready()

	buckets = table[bucket]{
		name: "buckets", cols: []string{"key", "tat"}, keys: 1, plain: true,
		row:  func(v bucket) []any { return []any{v.key, v.tat} },
		scan: func(s *sqlite.Stmt) bucket { return bucket{s.ColumnText(0), s.ColumnInt64(1)} },
	}.ready()
)

// bucket is a rate limit's: tat is when it is full, in nanoseconds.
type bucket struct {
	key string
	tat int64
}

// decode reads a row that was selected by tb.all, and holds it against its sum and its columns: a
// row that has another one's body has its sum, too.
func (tb table[T]) decode(s *sqlite.Stmt) (v T, err error) {
	if tb.plain {
		v = tb.scan(s)
		if sumOf(tb.row(v)...) != s.ColumnInt64(len(tb.cols)) {
			return v, fmt.Errorf("%w: a row of %s is not what was written", store.ErrDamaged, tb.name)
		}
		return v, tb.matches(s, v)
	}
	body, err := tb.body(s)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("%w: decoding a row of %s: %w", store.ErrDamaged, tb.name, err)
	}
	return v, tb.matches(s, v)
}

// matches holds v against the columns of the row that it was read from.
func (tb table[T]) matches(s *sqlite.Stmt, v T) error {
	for i, want := range tb.row(v) {
		if !holds(s, i, want) {
			return fmt.Errorf("%w: column %s of a row of %s is not its body's", store.ErrDamaged, tb.cols[i], tb.name)
		}
	}
	return nil
}

// body is a row's, which has its sum.
func (tb table[T]) body(s *sqlite.Stmt) ([]byte, error) {
	n := len(tb.cols)
	body := blob(s, n)
	if sumOf(body) != s.ColumnInt64(n+1) {
		return nil, fmt.Errorf("%w: a row of %s is not what was written", store.ErrDamaged, tb.name)
	}
	return body, nil
}

// encode is a row's values, in the order of tb.all without the rowid.
func (tb table[T]) encode(v T) ([]any, error) {
	row := tb.row(v)
	if tb.plain {
		return append(row, sumOf(row...)), nil
	}
	body, err := json.Marshal(&v)
	if err != nil {
		return nil, fmt.Errorf("encoding a row of %s: %w", tb.name, err)
	}
	return append(row, string(body), sumOf(body)), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf is CRC-32C over values, each with its length before it. Against chance, not
// against somebody: who can write to the file can write a sum.
func sumOf(values ...any) int64 {
	var sum uint32
	var buf [24]byte
	for _, v := range values {
		var b []byte
		switch v := v.(type) {
		case string:
			b = []byte(v)
		case []byte:
			b = v
		case int64:
			b = strconv.AppendInt(nil, v, 10)
		}
		sum = crc32.Update(sum, castagnoli, append(strconv.AppendInt(buf[:0], int64(len(b)), 10), ':'))
		sum = crc32.Update(sum, castagnoli, b)
	}
	return int64(sum)
}
