package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/store"
)

// ErrHistory means that the database does not hold the log that this key has
// signed: it was lost, rolled back, or is another one.
var ErrHistory = errors.New("the log is not the one that was signed")

// anchorEvery is how often a newer checkpoint is written down. What is signed in
// between and lost with the database is not missed: to write each one down would
// cost every commit another fsync.
const anchorEvery = time.Second

// RollbackGuard is the newest checkpoint that was signed, in a file apart from the
// database. Law: a broker never signs two histories with one key without
// somebody typing that they accept it. It is safe for concurrent use.
type RollbackGuard struct {
	path  string
	key   *Key
	st    store.Store
	lock  *flock.Flock
	moved bool   // one stands beside the key, too, or there alone
	from  string // the file that counted, of the two
	there bool   // one stood in path at the start

	mu   sync.Mutex
	size int64 // of what the file holds; guarded by mu
	left error // what keeps the one beside the key from being taken away; guarded by mu
}

// OpenRollbackGuard holds the log in st against the checkpoint in path, and takes path
// for itself. It returns an ErrHistory where the log is shorter, or is not an
// extension of it, or where there is no such file. A path that is not the one
// beside the key takes over what GenerateKey left there.
func OpenRollbackGuard(ctx context.Context, path string, key *Key, st store.Store) (*RollbackGuard, error) {
	a, err := takeRollbackGuard(path, key, st)
	if err != nil {
		return nil, err
	}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, a.lock.Close())
	}
	return a, nil
}

func takeRollbackGuard(path string, key *Key, st store.Store) (*RollbackGuard, error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	switch got, err := lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("locking the ledger's checkpoint file: %w; put it where the broker can write, with ledger.checkpoint_file", err)
	case !got:
		return nil, fmt.Errorf("%w: another broker signs with this key now (%s is locked); stop that one first", ErrKey, path)
	}
	return &RollbackGuard{path: path, key: key, st: st, lock: lock}, nil
}

func (a *RollbackGuard) start(ctx context.Context) error {
	known, err := a.read()
	if err != nil {
		return err
	}
	head, err := a.check(ctx, known)
	if err != nil {
		return err
	}
	a.size = -1 // so that it is written, and a place that cannot be written to shows now
	return a.keep(head)
}

// read returns the tree in the file. What stands beside the key, where that is another file, counts
// where it is newer, or the only one: a crash can leave it there.
func (a *RollbackGuard) read() (tlog.Tree, error) {
	known, there, err := a.readFile(a.path)
	if err != nil {
		return tlog.Tree{}, err
	}
	a.there, a.from = there, a.path
	if !sameName(a.path, a.key.checkpoint) {
		switch beside, more, err := a.readFile(a.key.checkpoint); {
		case err != nil && !there:
			return tlog.Tree{}, err
		case err == nil && more:
			a.moved = true
			if !there || beside.N > known.N {
				known, there, a.from = beside, true, a.key.checkpoint
			}
		}
	}
	if !there {
		return tlog.Tree{}, a.lost("it is missing, so nobody can tell this log from one that took the place of another")
	}
	return known, nil
}

// sameName says whether two paths are one name in one folder, however they are spelled. Links to one file are two names:
// what is renamed to one of them leaves the other.
func sameName(a, b string) bool {
	in, ierr := os.Stat(filepath.Dir(a))
	of, oerr := os.Stat(filepath.Dir(b))
	return filepath.Base(a) == filepath.Base(b) && ierr == nil && oerr == nil && os.SameFile(in, of)
}

func (a *RollbackGuard) readFile(path string) (t tlog.Tree, there bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tlog.Tree{}, false, nil
	}
	if err != nil {
		return tlog.Tree{}, false, fmt.Errorf("reading the ledger's checkpoint file: %w", err)
	}
	if len(raw) == 0 {
		return tlog.Tree{}, true, a.lost("it is empty")
	}
	if t, err = a.key.open(raw); err != nil {
		return tlog.Tree{}, true, a.lost("it is no checkpoint of %s, signed with this key", a.key.Origin())
	}
	return t, true, nil
}

// check holds the store's log against an older tree.
func (a *RollbackGuard) check(ctx context.Context, known tlog.Tree) (head store.Head, err error) {
	err = a.st.View(ctx, func(rd store.Reader) error {
		if head, err = rd.Head(); err != nil || known.N == 0 {
			return err
		}
		if head.Size < known.N {
			return a.lost("this key has signed %d records, and the database holds %d of them at most: it was lost, or rolled back", known.N, head.Size)
		}
		now, err := a.key.open(head.Checkpoint)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(now.N, known.N, rd)
		if err != nil {
			return fmt.Errorf("proving the log's history: %w", err)
		}
		if err := tlog.CheckTree(proof, now.N, now.Hash, known.N, known.Hash); err != nil {
			return a.lost("the first %d records of the database are others than this key has signed: it was rolled back and went on, or is another one", known.N)
		}
		return nil
	})
	return head, err
}

func (a *RollbackGuard) lost(text string, args ...any) error {
	return fmt.Errorf("%w: %s: %s. Restore the newest database (and its -wal file), or make a new log with a new key. "+
		"To go on with this database and this key, in front of everybody who kept an older checkpoint, run \"valetkeyd ledger accept-loss\"",
		ErrHistory, cmp.Or(a.from, a.path), fmt.Sprintf(text, args...))
}

// Follow writes newer checkpoints down until ctx is done. Errors go to failed,
// and are tried again.
func (a *RollbackGuard) Follow(ctx context.Context, failed func(error)) {
	a.mu.Lock()
	left := a.left
	a.mu.Unlock()
	if left != nil {
		failed(left)
	}
	every := time.NewTicker(anchorEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if err := a.update(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

func (a *RollbackGuard) update(ctx context.Context) error {
	var head store.Head
	err := a.st.View(ctx, func(rd store.Reader) (err error) {
		head, err = rd.Head()
		return err
	})
	if err != nil {
		return err
	}
	return a.keep(head)
}

// keep replaces the file by a durable head's checkpoint.
func (a *RollbackGuard) keep(head store.Head) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if head.Size <= a.size || head.Size == 0 {
		return nil
	}
	if err := replace(a.path, head.Checkpoint); err != nil {
		return fmt.Errorf("writing the ledger's checkpoint file: %w; put it where the broker can write, with ledger.checkpoint_file", err)
	}
	a.size = head.Size
	if !a.moved {
		return nil
	}
	a.moved = false // from here on the newer one counts, also when it is lost
	if err := os.Remove(a.key.checkpoint); err != nil {
		err = fmt.Errorf("taking the ledger's checkpoint from beside the key: %w; take it away by hand: were %s lost, it would count", err, a.path)
		if !a.there {
			return err
		}
		a.left = err // a broker that ran like this before goes on
	}
	return nil
}

// Close writes the last checkpoint down and gives the file up. The store is
// still open, and writes no more.
func (a *RollbackGuard) Close(ctx context.Context) error {
	return errors.Join(a.update(ctx), a.lock.Close())
}

// replace is atomic, and synced before it replaces: a torn file would keep the
// broker from starting. path is locked, so the name beside it is free.
func replace(path string, text []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// AcceptLoss makes the log in st the one that key goes on with, though it is not
// the one in path. The log's own record says so, with the cause and what was
// signed before; it is returned. Where nothing is lost that is an error.
func AcceptLoss(ctx context.Context, path string, key *Key, st store.Store, now func() time.Time, cause string) (string, error) {
	a, err := takeRollbackGuard(path, key, st)
	if err != nil {
		return "", err
	}
	defer func() { _ = a.lock.Close() }() // nothing is written through it
	signed := "a checkpoint that cannot be read"
	known, err := a.read()
	if err == nil {
		signed = fmt.Sprintf("%d records with root %s", known.N, known.Hash)
		_, err = a.check(ctx, known)
	}
	switch {
	case err == nil:
		return "", fmt.Errorf("%s and the database agree; there is no loss to accept", filepath.Base(path))
	case !errors.Is(err, ErrHistory):
		return "", err
	}
	text := fmt.Sprintf("%s; signed before: %s", cause, signed)
	head, err := New(st, now).Commit(ctx, func(t *Tx) error {
		return t.Change(grant.Lost(text))
	})
	if err != nil {
		return "", fmt.Errorf("recording the loss: %w", err)
	}
	a.size = 0
	if err := a.keep(head); err != nil {
		return text, err
	}
	return text, a.left // it may be the one that counted, and would again
}

// open verifies a checkpoint of the key's own log.
func (k *Key) open(checkpoint []byte) (tlog.Tree, error) {
	n, err := note.Open(checkpoint, note.VerifierList(k.verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: a checkpoint is not signed by %s: %w", ErrKey, k.Origin(), err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != k.Origin() || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("%w: a signed note is no checkpoint of %s", ErrKey, k.Origin())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: reading a checkpoint's size: %w", ErrKey, err)
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: reading a checkpoint's root: %w", ErrKey, err)
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}
