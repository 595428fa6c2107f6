// Package sqlite is the embedded store: one file, one writer, group commit.
//
// Laws:
//   - synchronous=FULL: an acknowledged transaction survives loss of power.
//   - Each Update is a savepoint; a batch of them shares one fsync. One that
//     fails is rolled back alone; a commit that fails fails the whole batch.
//   - The checkpoint over a batch is signed inside its transaction.
//   - The file and its folder are readable by the owner only.
//   - One process at a time has the file open for writing: a second broker would
//     take the first one's running intents for those of a crash.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // the driver

	"github.com/valetkey/valetkey/broker/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// maxBatch bounds how many updates wait for one fsync.
	maxBatch = 256
	// maxReaders bounds how many Views run at once.
	maxReaders = 8
)

// Config configures Open.
type Config struct {
	// Path of the database file; created with mode 0600, its folder 0700.
	Path string
	// Seal signs each new tree head. Required.
	Seal store.SealFunc
}

// DB is a store.Store in one SQLite file.
type DB struct {
	read  *sql.DB
	write *sql.DB
	w     *session // the writer goroutine's alone
	seal  store.SealFunc
	// idle holds the readers that nobody uses: as many as there may be, nil for
	// one that is not opened yet.
	idle chan *session

	ops  chan *op
	quit chan struct{}
	done chan struct{}
	once sync.Once
	lock *flock.Flock
}

type op struct {
	fn   func(store.Tx) error
	err  error
	head store.Head
	done chan struct{}
}

var _ store.Store = (*DB)(nil)

// Open opens or creates the database and brings its schema up to date.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Seal == nil || cfg.Path == "" {
		return nil, errors.New("sqlite: Path and Seal are required")
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, fmt.Errorf("creating the store's folder: %w", err)
	}
	lock := flock.New(cfg.Path+".lock", flock.SetPermissions(0o600))
	switch got, err := lock.TryLock(); {
	case err != nil:
		return nil, unavailable("locking the store", err)
	case !got:
		return nil, unavailable("locking the store", fmt.Errorf("%s is another broker's; stop that one first", cfg.Path))
	}
	db, err := open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	db.lock = lock
	return db, nil
}

// create makes the file before SQLite would, so that its mode is never wider,
// and refuses one that others can read.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s has mode %v; others may not read it: chmod 600", path, info.Mode().Perm())
	}
	return errors.Join(err, f.Close())
}

func open(ctx context.Context, cfg Config) (*DB, error) {
	if err := create(cfg.Path); err != nil {
		return nil, unavailable("opening the store", err)
	}
	dsn := func(extra string) string {
		u := url.URL{Scheme: "file", Opaque: url.PathEscape(cfg.Path)}
		return u.String() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-16384)" + extra
	}
	write, err := sql.Open("sqlite", dsn("&_txlock=immediate"))
	if err != nil {
		return nil, unavailable("opening the store", err)
	}
	write.SetMaxOpenConns(1)
	if err := migrate(ctx, write); err != nil {
		return nil, errors.Join(unavailable("migrating the store", err), write.Close())
	}
	conn, err := write.Conn(ctx)
	if err != nil {
		return nil, errors.Join(unavailable("opening the store", err), write.Close())
	}
	read, err := sql.Open("sqlite", dsn("&_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(unavailable("opening the store", err), conn.Close(), write.Close())
	}
	db := &DB{
		read: read, write: write, w: newSession(conn), seal: cfg.Seal, idle: make(chan *session, maxReaders),
		ops: make(chan *op, maxBatch), quit: make(chan struct{}), done: make(chan struct{}),
	}
	for range maxReaders {
		db.idle <- nil
	}
	go db.run()
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Update implements store.Store. A cancelled ctx stops the wait for a place in
// the queue; once queued the transaction's true outcome is awaited, so that no
// durable change is ever reported as an error.
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) (store.Head, error) {
	o := &op{fn: fn, done: make(chan struct{})}
	select {
	case db.ops <- o:
	case <-ctx.Done():
		return store.Head{}, ctx.Err()
	case <-db.quit:
		return store.Head{}, fmt.Errorf("%w: closed", store.ErrUnavailable)
	}
	select {
	case <-o.done:
		return o.head, o.err
	case <-db.done:
		// run drained its queue before it closed done: either o was run, or
		// it was queued after the drain and never will be.
		select {
		case <-o.done:
			return o.head, o.err
		default:
			return store.Head{}, fmt.Errorf("%w: closed", store.ErrUnavailable)
		}
	}
}

func (db *DB) run() {
	defer close(db.done)
	for {
		var batch []*op
		select {
		case o := <-db.ops:
			batch = append(batch, o)
		case <-db.quit:
			for {
				select {
				case o := <-db.ops:
					db.commit([]*op{o})
				default:
					return
				}
			}
		}
	fill:
		for len(batch) < maxBatch {
			select {
			case o := <-db.ops:
				batch = append(batch, o)
			default:
				break fill
			}
		}
		db.commit(batch)
	}
}

// commit runs a batch in one transaction and answers every op in it.
func (db *DB) commit(batch []*op) {
	head, err := db.runBatch(batch)
	for _, o := range batch {
		if err != nil {
			o.err = err
		}
		if o.err == nil {
			o.head = head
		}
		close(o.done)
	}
}

func (db *DB) runBatch(batch []*op) (_ store.Head, err error) {
	ctx := context.Background() // a batch belongs to many callers: none may cancel it
	if err := db.w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return store.Head{}, unavailable("beginning a transaction", err)
	}
	defer func() {
		if err != nil {
			// The connection must not stay inside the transaction. If even
			// this fails the next BEGIN fails too, and the store refuses.
			if rerr := db.w.exec(ctx, "ROLLBACK"); rerr != nil {
				err = errors.Join(err, unavailable("rolling back", rerr))
			}
		}
	}()
	t := &tx{reader: reader{ctx: ctx, q: db.w.prepared}, known: map[int64]tlog.Hash{}}
	before, err := t.size()
	if err != nil {
		return store.Head{}, unavailable("reading the ledger's size", err)
	}
	t.n = before
	for _, o := range batch {
		if err := db.w.exec(ctx, "SAVEPOINT op"); err != nil {
			return store.Head{}, unavailable("beginning a transaction", err)
		}
		n := t.n
		if o.err = call(o.fn, t); o.err != nil {
			t.n = n
			clear(t.known) // it may hold hashes that are rolled back
			if err := db.w.exec(ctx, "ROLLBACK TO op"); err != nil {
				return store.Head{}, unavailable("rolling back", err)
			}
		}
		if err := db.w.exec(ctx, "RELEASE op"); err != nil {
			return store.Head{}, unavailable("ending a transaction", err)
		}
	}
	var head store.Head
	if t.n > before {
		root, err := tlog.TreeHash(t.n, t)
		if err != nil {
			return store.Head{}, unavailable("hashing the ledger", err)
		}
		note, err := db.seal(tlog.Tree{N: t.n, Hash: root})
		if err != nil {
			return store.Head{}, unavailable("signing the checkpoint", err)
		}
		if err := t.exec("INSERT INTO checkpoint (id, size, note) VALUES (0, ?, ?) ON CONFLICT (id) DO UPDATE SET size = excluded.size, note = excluded.note", t.n, note); err != nil {
			return store.Head{}, err
		}
		head = store.Head{Size: t.n, Checkpoint: note}
	} else if head, err = t.Head(); err != nil {
		return store.Head{}, err
	}
	if err := db.w.exec(ctx, "COMMIT"); err != nil {
		return store.Head{}, unavailable("committing", err)
	}
	return head, nil
}

// call turns a panic of fn into an error, since it runs on the writer that
// everybody shares.
func call(fn func(store.Tx) error, t store.Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic of type %T in a transaction: %s", r, debug.Stack()) // the value could hold anything
		}
	}()
	return fn(t)
}

// Close implements store.Store.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		close(db.quit)
		<-db.done
		err = db.w.close()
		for range maxReaders {
			if r := <-db.idle; r != nil {
				err = errors.Join(err, r.close())
			}
		}
		err = errors.Join(err, db.read.Close(), db.write.Close(), db.lock.Close())
	})
	return err
}

func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, doing, err)
}
