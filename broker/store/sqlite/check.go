package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

const (
	// startCheck bounds how long an Open looks for damage. What it did not come to, the
	// background does.
	startCheck = 3 * time.Second
	// sampledRecords is how many of the newest records, and of all, a start looks at.
	sampledRecords = 128
	// checkRows is how many rows a step of the background looks at, in one read
	// transaction; checkShare is how many times as long it then waits, so that it takes
	// one part in fifty of a processor; and checkPause is between two passes.
	checkRows  = 64
	checkShare = 50
	checkPause = time.Minute
	// liveRows is how many rows a step of a start's check looks at.
	liveRows = 512
)

// checkSchema finds a file that is no database, or lost its schema, before anything is
// written to it. A new file is empty.
func checkSchema(path string, d *damage) error {
	return withSchema(path, d, func(conn, int64) error { return nil })
}

// withSchema runs fn on a connection that writes nothing, with the schema's version. It runs
// it on no file that is empty or has no schema of ours.
func withSchema(path string, d *damage, fn func(c conn, version int64) error) (err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return err
	}
	// One that may write would, as it is closed, put a log that a crash left into the file, and
	// remove it: also one that does not belong to the file.
	c, err := look(path, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.c.Close()) }()
	r := &reader{c: c}
	made, err := r.has("sqlite_schema WHERE name = 'goose_db_version'")
	if err != nil || !made {
		return err
	}
	var version int64
	if err := r.row("SELECT max(version_id) FROM goose_db_version", func(s *sqlite.Stmt) error { version = s.ColumnInt64(0); return nil }); err != nil {
		return err
	}
	return fn(c, version)
}

// look opens the file to be read. What a first start that was killed before the file had a log left half done is undone
// first, as whoever may only read cannot: no such file would ever be started from again.
func look(path string, d *damage) (conn, error) {
	_, half := os.Stat(path + "-journal")
	_, log := os.Stat(path + "-wal")
	if half == nil && errors.Is(log, fs.ErrNotExist) {
		return dial(path, d, "query_only = 1")
	}
	return dialAs(sqlite.OpenReadOnly, path, d)
}

// checkStart looks for damage within startCheck: at the indexes, at what is live and all
// it needs, at a sample of the records, then at every page, and then at every row, for
// as long as there is time. What it finds is noted; err is of another kind.
func (db *DB) checkStart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, db.patience)
	defer cancel()
	err := db.withChecker(ctx, func(r *reader) error {
		for _, look := range []func(*reader) error{checkIndexes, checkLive, checkSample, checkPages, checkRest} {
			switch err := look(r); {
			case errors.Is(err, store.ErrDamaged), ctx.Err() != nil:
				return nil // it is noted, or the background goes on
			case err != nil:
				return err
			}
		}
		return nil
	})
	if errors.Is(err, store.ErrDamaged) || ctx.Err() != nil {
		return nil // likewise, before the first look
	}
	return err
}

// withChecker runs fn in a read transaction of a connection of its own, whose cache is
// small: what is looked at comes from the file. ctx interrupts it.
func (db *DB) withChecker(ctx context.Context, fn func(*reader) error) (err error) {
	c, err := dial(db.path, db.damage, "query_only = 1", "cache_size = -256")
	if err != nil {
		return unavailable("opening the store to check it", err)
	}
	defer func() { err = errors.Join(err, c.c.Close()) }()
	c.c.SetInterrupt(ctx.Done())
	return inRead(c, fn)
}

func inRead(c conn, fn func(*reader) error) error {
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	err := fn(&reader{c: c})
	c.c.SetInterrupt(nil)
	return errors.Join(err, c.exec("ROLLBACK"))
}

func checkIndexes(r *reader) error {
	for _, i := range indexes() {
		if _, err := i.step(r, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// checkLive looks at what the broker acts on: freezes, sweeps, open grants with their
// issuances, and the work.
func checkLive(r *reader) error {
	for _, w := range []walk{{"frozen", freezes.step(nil)}, {"sweeps", sweeps.step(nil)}} {
		if err := w.whole(r, liveRows); err != nil {
			return err
		}
	}
	for agent, task, id := "", "", ""; ; {
		live, err := many(r, grants, "INDEXED BY grants_open WHERE live = 1 AND (agent, task, id) > (?, ?, ?) ORDER BY agent, task, id LIMIT ?", agent, task, id, liveRows)
		if err != nil {
			return err
		}
		for _, g := range live {
			issued, err := r.Issuances(store.IssuanceFilter{GrantID: g.ID})
			if err := errors.Join(err, r.c.judge(checkGrant(r, g))); err != nil {
				return err
			}
			for _, i := range issued {
				if err := r.c.judge(checkIssuance(r, i)); err != nil {
					return err
				}
			}
			agent, task, id = g.Agent, g.TaskID, g.ID
		}
		if len(live) < liveRows {
			break
		}
	}
	due, err := many(r, works, "WHERE due IS NOT NULL ORDER BY due LIMIT ?", liveRows)
	for _, w := range due {
		err = errors.Join(err, r.c.judge(checkWork(r, w)))
	}
	return err
}

// checkSample looks at the newest records, and at some of the older ones.
func checkSample(r *reader) error {
	size, err := r.checkedSize()
	if err != nil || size == 0 {
		return err
	}
	if err := r.checkRecords(max(0, size-sampledRecords), size); err != nil {
		return err
	}
	for range min(sampledRecords, size) {
		n := rand.Int64N(size) //nolint:gosec // a sample, against chance
		if err := r.checkRecords(n, n+1); err != nil {
			return err
		}
	}
	return nil
}

// checkPages has SQLite look at every page of the file.
func checkPages(r *reader) error { return r.pragma("quick_check(1)") }

// checkRest has every walk go over all of its rows.
func checkRest(r *reader) error {
	for _, w := range walks() {
		if err := w.whole(r, liveRows); err != nil {
			return err
		}
	}
	return nil
}

// pragma runs one of SQLite's own checks, whose answer is "ok", or what is wrong.
func (r *reader) pragma(name string) error {
	return r.c.each("PRAGMA "+name, func(s *sqlite.Stmt) error {
		if text := s.ColumnText(0); text != "ok" {
			return fmt.Errorf("%w: %s", store.ErrDamaged, text)
		}
		return nil
	})
}

// whole is all of a walk.
func (w walk) whole(r *reader, rows int) error {
	for after := []any(nil); ; {
		last, err := w.step(r, after, rows)
		if err != nil || last == nil {
			return err
		}
		after = last
	}
}

// checkIntegrity has SQLite hold every page and every index against its table, and does the one
// thing that it does not: it counts what partial indexes hold. One that has more than its table
// tells of a row that was lost.
func checkIntegrity(r *reader) error {
	if err := r.pragma("integrity_check(1)"); err != nil {
		return err
	}
	var partial []index
	err := r.c.each("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index'", func(s *sqlite.Stmt) error {
		if _, where, is := strings.Cut(s.ColumnText(2), " WHERE "); is {
			partial = append(partial, index{s.ColumnText(0), s.ColumnText(1), where})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range partial {
		// Without a WHERE of its own, the second count cannot be made by the index.
		same, err := r.has("(SELECT count(*) AS n FROM " + i.table + " INDEXED BY " + i.name + " WHERE " + i.where + "), " +
			"(SELECT count(*) FILTER (WHERE " + i.where + ") AS m FROM " + i.table + ") WHERE n = m")
		if err != nil {
			return err
		}
		if !same {
			return r.c.judge(fmt.Errorf("%w: index %s has not the rows of %s", store.ErrDamaged, i.name, i.table))
		}
	}
	return nil
}

// Check looks at everything: each page, row, record and index, and what they need of each
// other. Damage is an ErrDamaged.
func (db *DB) Check(ctx context.Context) error {
	return db.withChecker(ctx, func(r *reader) error {
		if err := checkIntegrity(r); err != nil {
			return err
		}
		return checkRest(r)
	})
}

// ClearDamage forgets damage that is not there any more: it looks at everything first.
func (db *DB) ClearDamage(ctx context.Context) error {
	if err := db.Check(ctx); err != nil {
		return err
	}
	return db.damage.clear()
}

// checkForever is the background's check: pass after pass over all walks, in small steps,
// until the store is closed or found damaged.
func (db *DB) checkForever(ctx context.Context) {
	defer close(db.checked)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { <-db.quit; cancel() }()
	c, err := dial(db.path, db.damage, "query_only = 1", "cache_size = -256")
	if err != nil {
		return // it is noted if it is damage; else every other read fails likewise
	}
	defer func() { _ = c.c.Close() }() // nothing was written through it
	for db.Damage() == nil {
		for _, w := range walks() {
			for after := []any(nil); ; {
				began := time.Now()
				var last []any
				err := inRead(c, func(r *reader) (err error) {
					last, err = w.step(r, after, checkRows)
					return err
				})
				if !pause(ctx, checkShare*time.Since(began)) || errors.Is(err, store.ErrDamaged) {
					return
				}
				if after = last; err != nil || last == nil {
					break // a fault that passes: the next pass comes by again
				}
			}
		}
		if !pause(ctx, checkPause) {
			return
		}
	}
}

// pause waits, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
