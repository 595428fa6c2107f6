package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/valetkey/valetkey/broker/store"
)

// session is a connection with its prepared statements. One goroutine at a time
// uses it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newSession(c *sql.Conn) *session { return &session{conn: c, stmts: map[string]*sql.Stmt{}} }

func (s *session) exec(ctx context.Context, query string) error {
	p, err := s.prepared(ctx, query)
	if err != nil {
		return err
	}
	_, err = p.ExecContext(ctx)
	return err
}

// prepared keeps every statement: the queries are a fixed few.
func (s *session) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if p, ok := s.stmts[query]; ok {
		return p, nil
	}
	p, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = p
	return p, nil
}

func (s *session) close() (err error) {
	for _, p := range s.stmts {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// View implements store.Store. A cancelled ctx stops the wait for a reader, and
// not what it then reads: that is short, and to watch ctx costs database/sql a
// goroutine for each query.
func (db *DB) View(ctx context.Context, fn func(store.Reader) error) error {
	var s *session
	select {
	case s = <-db.idle:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.quit:
		return unavailable("beginning a read", errors.New("closed"))
	}
	sound := false
	defer func() {
		if !sound && s != nil {
			_ = s.close() // nothing was written through it
			s = nil
		}
		db.idle <- s
	}()
	if err := ctx.Err(); err != nil {
		sound = true
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if s == nil {
		conn, err := db.read.Conn(ctx)
		if err != nil {
			return unavailable("beginning a read", err)
		}
		s = newSession(conn)
	}
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return unavailable("beginning a read", err)
	}
	err := fn(&reader{ctx: ctx, q: s.prepared})
	if rerr := s.exec(ctx, "ROLLBACK"); rerr != nil {
		return errors.Join(err, unavailable("ending a read", rerr))
	}
	sound = true
	return err
}
