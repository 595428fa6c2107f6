// Package sqlite is the embedded store: one file, one writer, group commit.
//
// Laws:
//   - synchronous=FULL: an acknowledged transaction survives loss of power.
//   - Each Update is a savepoint; a batch of them shares one fsync. One that
//     fails is rolled back alone; a commit that fails fails the whole batch.
//   - The checkpoint over a batch is signed inside its transaction.
//   - The file and its folder are readable by the owner only.
//   - Damage latches: a statement that finds the file malformed, a row that does not have
//     its sum, a record that is not the tree's, or a row that lacks another which it
//     needs, at a start, at a call or in the background, is kept until a person clears it.
//   - One process at a time has the file open for writing: a second broker would
//     take the first one's running intents for those of a crash.
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/broker/store/merkle"
)

const (
	// maxBatch bounds how many updates wait for one fsync.
	maxBatch = 256
	// checkpointPages is how long the write-ahead log gets, 32 MiB, before it goes
	// into the file. Batches rewrite the same pages, and each goes there once.
	checkpointPages = 8000
	// maxReaders bounds how many Views run at once.
	maxReaders = 8
)

// Config configures Open.
type Config struct {
	// Path of the database file; created with mode 0600, its folder 0700.
	Path string
	// Seal signs each new tree head. Required.
	Seal store.SealFunc
	// patience replaces startCheck, for tests on machines of any speed.
	patience time.Duration
}

// DB is a store.Store in one SQLite file.
type DB struct {
	path   string
	seal   store.SealFunc
	damage *damage
	// patience is how long a start looks for damage.
	patience time.Duration
	// w and tree are the writer goroutine's alone.
	w    conn
	tree merkle.Tree
	open openIntents
	// idle holds the readers that nobody uses: as many as there may be, nil for
	// one that is not opened yet.
	idle chan *conn

	ops  chan *op
	quit chan struct{}
	done chan struct{}
	// checked is closed when the background's check has ended.
	checked chan struct{}
	once    sync.Once
	lock    *flock.Flock
}

type op struct {
	fn   func(store.Tx) error
	err  error
	head store.Head
	done chan struct{}
}

var _ store.Store = (*DB)(nil)

// Open opens or creates the database and brings its schema up to date. One of an older schema
// is looked at whole first, for as long as that takes, and left as it is where it is damaged.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Seal == nil || cfg.Path == "" {
		return nil, errors.New("sqlite: Path and Seal are required")
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, fmt.Errorf("creating the store's folder: %w", err)
	}
	path, err := resolve(cfg.Path)
	if err != nil {
		return nil, unavailable("finding the store", err)
	}
	cfg.Path = path
	held, err := lock(cfg.Path)
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	db.lock = held
	return db, nil
}

// lock makes the file this process's until it is closed.
func lock(path string) (*flock.Flock, error) {
	held := flock.New(path+".lock", flock.SetPermissions(0o600))
	switch got, err := held.TryLock(); {
	case err != nil:
		return nil, unavailable("locking the store", err)
	case !got:
		return nil, unavailable("locking the store", fmt.Errorf("%s is another broker's; stop that one first", path))
	}
	return held, nil
}

// resolve follows symbolic links, so that one file has one lock whatever name it
// is opened by. The file may not be there yet; its folder is.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return real, err
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
	found, err := remembered(cfg.Path)
	if err != nil {
		return nil, unavailable("opening the store", err)
	}
	if err := checkSchema(cfg.Path, found); err != nil {
		return nil, unavailable("opening the store", err)
	}
	if err := checkBefore(ctx, cfg.Path, found); err != nil {
		return nil, unavailable("checking the store before its schema is changed", err)
	}
	if err := migrate(ctx, cfg.Path); err != nil {
		return nil, unavailable("migrating the store", err)
	}
	w, err := dial(cfg.Path, found, "journal_mode = WAL", "synchronous = FULL", fmt.Sprintf("wal_autocheckpoint = %d", checkpointPages))
	if err != nil {
		return nil, unavailable("opening the store", err)
	}
	db := &DB{
		path: cfg.Path, seal: cfg.Seal, damage: found, patience: cmp.Or(cfg.patience, startCheck), w: w, checked: make(chan struct{}), idle: make(chan *conn, maxReaders),
		ops: make(chan *op, maxBatch), quit: make(chan struct{}), done: make(chan struct{}),
	}
	size, err := (&reader{c: w}).size()
	if err == nil {
		db.tree, err = merkle.Load(size, &reader{c: w})
	}
	if err != nil {
		return nil, errors.Join(unavailable("reading the ledger's edge", err), w.c.Close())
	}
	if err := db.open.load(&reader{c: w}); err != nil {
		return nil, errors.Join(unavailable("reading what is open", err), w.c.Close())
	}
	for range maxReaders {
		db.idle <- nil
	}
	if err := db.checkStart(ctx); err != nil {
		return nil, errors.Join(err, w.c.Close())
	}
	go db.run()
	go db.checkForever(context.WithoutCancel(ctx))
	return db, nil
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
		switch {
		case err != nil && errors.Is(o.err, store.ErrDamaged):
			o.err = errors.Join(o.err, err) // the op's own says where the damage is that ended the batch
		case err != nil:
			o.err = err
		}
		if o.err == nil {
			o.head = head
		}
		close(o.done)
	}
}

func (db *DB) runBatch(batch []*op) (_ store.Head, err error) {
	t := &tx{reader: reader{c: db.w, open: &db.open, read: map[string]int64{}}, tree: &db.tree}
	if err := db.w.exec("BEGIN IMMEDIATE"); err != nil {
		return store.Head{}, unavailable("beginning a transaction", err)
	}
	defer func() {
		if err != nil {
			// The connection must not stay inside the transaction, nor the tree
			// ahead of it. SQLite has ended it by itself where the disk is full. If
			// even this fails the next BEGIN fails too, and the store refuses.
			if !db.w.c.AutocommitEnabled() {
				if rerr := db.w.exec("ROLLBACK"); rerr != nil {
					err = errors.Join(err, unavailable("rolling back", rerr))
				}
			}
			db.tree.Discard(db.tree.Durable())
			db.open.undo(0)
		}
	}()
	for _, o := range batch {
		if err := db.runOne(t, o); err != nil {
			return store.Head{}, err
		}
	}
	head, err := db.sealed(t)
	if err != nil {
		return store.Head{}, err
	}
	if err := t.exec("COMMIT"); err != nil {
		return store.Head{}, err
	}
	db.tree.Commit()
	db.open.durable()
	return head, nil
}

// runOne runs one op in a savepoint, so that its failure costs nobody else. An
// error is the batch's.
func (db *DB) runOne(t *tx, o *op) error {
	if err := t.exec("SAVEPOINT op"); err != nil {
		return err
	}
	clear(t.read)
	n, open := db.tree.Size(), len(db.open.before)
	if o.err = call(o.fn, t); o.err != nil {
		db.tree.Discard(n)
		db.open.undo(open)
		t.forget()
		switch err := t.exec("ROLLBACK TO op"); {
		case errors.Is(err, errEnded) && errors.Is(o.err, store.ErrUnavailable):
			return o.err // it says why
		case err != nil:
			return err
		}
	}
	return t.exec("RELEASE op")
}

// sealed writes the signed head over the batch.
func (db *DB) sealed(t *tx) (store.Head, error) {
	if db.tree.Size() == db.tree.Durable() {
		if db.open.opened() {
			return store.Head{}, errors.New("an issuance was opened without a record")
		}
		return t.Head()
	}
	head, err := db.tree.Seal(db.seal)
	if err != nil {
		return store.Head{}, unavailable("sealing the batch", err)
	}
	return head, t.seal(head.Checkpoint)
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
		<-db.checked
		for range maxReaders {
			if r := <-db.idle; r != nil {
				err = errors.Join(err, r.c.Close())
			}
		}
		err = errors.Join(err, db.w.c.Close(), db.lock.Close())
	})
	return err
}

// shmSize is SQLITE_IOERR_SHMSIZE: the index of the write-ahead log cannot be
// made. SQLite's own text says "disk I/O error" alone.
const shmSize = 4874

func unavailable(doing string, err error) error {
	if e := (interface{ Code() int })(nil); errors.As(err, &e) && e.Code() == shmSize {
		err = fmt.Errorf("%w: there is probably no room on the disk", err)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, doing, err)
}
