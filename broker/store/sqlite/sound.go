package sqlite

import (
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// lookup names rows by the columns of an index alone, so that no row is read to find another.
type lookup struct {
	// index covers where and order; empty for the key of a table that has no rowids.
	index string
	where string
	// order is one column.
	order string
	args  []any
	// whole goes over the table too once damage was found, whatever the index has: it may have
	// lost entries. It is for what is not asked for each second.
	whole bool
}

// errEnough ends a query from within.
var errEnough = errors.New("enough rows")

// sound calls take with each row that a lookup names, until it returns false. Each is read by
// itself: one that is damaged, that is not there, that its key does not find, or that is not what
// the index says, is noted and passed over. It is for what ends credentials: what cannot be read
// stops nobody else's end. Rows come in the lookup's order, but where the index is damaged: then
// they come from its other end too, and from the table.
func sound[T any](r *reader, tb table[T], l lookup, is func(T) bool, take func(T) (more bool)) error {
	tried := map[any]bool{}
	look := func(s *sqlite.Stmt) error {
		var at any = s.ColumnText(0)
		if tb.index != "" {
			at = s.ColumnInt64(0)
		}
		if tried[at] {
			return nil
		}
		tried[at] = true
		switch v, err := named(r, tb, at, is); {
		case errors.Is(err, store.ErrDamaged): // it is noted
		case err != nil:
			return err
		case !take(v):
			return errEnough
		}
		return nil
	}
	from := "SELECT " + tb.by() + " FROM " + tb.name
	by := ""
	if l.index != "" {
		by = " INDEXED BY " + l.index
	}
	err := r.bothWays(from+by+" WHERE "+l.where, l.order, look, l.args)
	if l.index != "" && (errors.Is(err, store.ErrDamaged) || err == nil && l.whole && r.damaged()) {
		err = r.bothWays(from+" NOT INDEXED WHERE "+l.where, tb.by(), look, l.args)
	}
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, store.ErrDamaged) {
		return unavailable("reading", err)
	}
	return nil
}

// bothWays runs a query in one order, and where that comes to a damaged page from the other end,
// too: what lies on either side of the page is found, some of it twice.
func (r *reader) bothWays(query, order string, row func(*sqlite.Stmt) error, args []any) error {
	err := r.c.each(query+" ORDER BY "+order, row, args...)
	if errors.Is(err, store.ErrDamaged) {
		err = errors.Join(err, r.c.each(query+" ORDER BY "+order+" DESC", row, args...))
	}
	return err
}

// named is the row that an index names by what tb is ordered by. One that is not there, is not
// what the index says, or is not found by its key, as whoever writes it would look for it, is an
// ErrDamaged.
func named[T any](r *reader, tb table[T], at any, is func(T) bool) (v T, err error) {
	query := "SELECT " + tb.all + " FROM " + tb.name + " WHERE " + tb.by() + " = ?"
	if tb.part != "" {
		query += " AND " + tb.part + " IS NOT NULL"
	}
	err = r.row(query, func(s *sqlite.Stmt) (err error) {
		v, err = tb.decode(s)
		return err
	}, at)
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = fmt.Errorf("%w: an index names row %v of %s, which is not there", store.ErrDamaged, at, tb.name)
	case err == nil && !is(v):
		err = fmt.Errorf("%w: row %v of %s is not what an index says", store.ErrDamaged, at, tb.name)
	case err == nil && tb.index != "":
		err = r.needs(fmt.Sprintf("row %v by its key", at), tb.entry(v, at))
	}
	return v, r.c.judge(err)
}

// damaged says whether damage was found, by whomever.
func (r *reader) damaged() bool { return r.c.damage != nil && r.c.damage.found() != nil }

// by is what the table is ordered by.
func (tb table[T]) by() string {
	if tb.index != "" {
		return "rowid"
	}
	return tb.cols[0]
}

// entry is what finds a row by its key.
func (tb table[T]) entry(v T, rowid any) need {
	query := tb.name + " INDEXED BY " + tb.index + " WHERE rowid = ?"
	for _, c := range tb.cols[:tb.keys] {
		query += " AND " + c + " = ?"
	}
	return need{query, append([]any{rowid}, tb.row(v)[:tb.keys]...)}
}
