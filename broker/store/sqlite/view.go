package sqlite

import (
	"context"
	"errors"

	"github.com/valetkey/valetkey/broker/store"
)

// View implements store.Store. A cancelled ctx stops the wait for a reader, and
// not what it then reads: that is short.
func (db *DB) View(ctx context.Context, fn func(store.Reader) error) (err error) {
	var c *conn
	select {
	case c = <-db.idle:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.quit:
		return unavailable("beginning a read", errors.New("closed"))
	}
	sound := false
	defer func() {
		if !sound && c != nil {
			_ = c.c.Close() // nothing was written through it
			c = nil
		}
		db.idle <- c
	}()
	if err := ctx.Err(); err != nil {
		sound = true
		return err
	}
	if c == nil {
		fresh, err := dial(db.path, db.damage, "query_only = 1")
		if err != nil {
			return unavailable("beginning a read", err)
		}
		c = &fresh
	}
	if err := c.exec("BEGIN"); err != nil {
		return unavailable("beginning a read", err)
	}
	err = fn(&reader{c: *c, open: &db.open})
	if rerr := c.exec("ROLLBACK"); rerr != nil {
		return errors.Join(err, unavailable("ending a read", rerr))
	}
	sound = true
	return err
}
