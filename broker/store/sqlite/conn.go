package sqlite

import (
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// conn is a connection with its prepared statements. One goroutine at a time
// uses it. It is below database/sql on purpose: a read by key costs 0.8 us here
// and 5 us there, and a grant makes some thirty of them.
type conn struct {
	c *sqlite.Conn
	// damage takes what a statement finds; nil for nothing.
	damage *damage
	// tasks are rows that were read before, by their bodies: each grant reads its task
	// again, and decoding it costs ten times what reading and summing it does.
	tasks map[string]store.Task
}

// maxTasks is how many tasks a connection keeps decoded.
const maxTasks = 1024

// busyTimeout is how long a statement waits for another process's lock.
const busyTimeout = 5 * time.Second

// dial opens the file, which exists, and sets what holds for each connection.
func dial(path string, d *damage, pragmas ...string) (conn, error) {
	return dialAs(sqlite.OpenReadWrite, path, d, pragmas...)
}

func dialAs(flags sqlite.OpenFlags, path string, d *damage, pragmas ...string) (conn, error) {
	c, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return conn{}, err
	}
	c.SetBusyTimeout(busyTimeout)
	db := conn{c: c, damage: d, tasks: map[string]store.Task{}}
	for _, p := range append([]string{"foreign_keys = 1", "temp_store = MEMORY", "cache_size = -16384"}, pragmas...) {
		if err := db.exec("PRAGMA " + p); err != nil {
			_ = c.Close() // nothing was written through it
			return conn{}, err
		}
	}
	return db, nil
}

// each runs a query and calls row, which may be nil, for every row of its answer.
func (c conn) each(query string, row func(*sqlite.Stmt) error, args ...any) error {
	return c.judge(c.step(query, row, args...))
}

func (c conn) step(query string, row func(*sqlite.Stmt) error, args ...any) error {
	s, err := c.c.Prepare(query) // it keeps every statement: the queries are a fixed few
	if err != nil {
		return err
	}
	for i, a := range args {
		if err := bind(s, i+1, a); err != nil {
			return err
		}
	}
	for {
		more, err := s.Step()
		if err != nil || !more {
			return err
		}
		if row == nil {
			continue
		}
		if err := row(s); err != nil {
			_ = s.Reset() // its error is that of the last step, which had none
			return err
		}
	}
}

func (c conn) exec(query string, args ...any) error { return c.each(query, nil, args...) }

// one runs a query whose answer is one row or none; none is store.ErrNotFound.
func (c conn) one(query string, row func(*sqlite.Stmt) error, args ...any) error {
	found := false
	err := c.each(query, func(s *sqlite.Stmt) error { found = true; return row(s) }, args...)
	if err == nil && !found {
		return store.ErrNotFound
	}
	return err
}

func bind(s *sqlite.Stmt, i int, v any) error {
	switch v := v.(type) {
	case nil:
		s.BindNull(i)
	case string:
		s.BindText(i, v)
	case []byte:
		s.BindBytes(i, v)
	case int64:
		s.BindInt64(i, v)
	case int:
		s.BindInt64(i, int64(v))
	case bool:
		s.BindBool(i, v)
	default:
		return fmt.Errorf("binding parameter %d: no column holds a %T", i, v)
	}
	return nil
}

func blob(s *sqlite.Stmt, col int) []byte {
	b := make([]byte, s.ColumnLen(col))
	s.ColumnBytes(col, b)
	return b
}
