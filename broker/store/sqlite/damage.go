package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/valetkey/valetkey/broker/store"
)

// damage is the first damage that was found in the file. It is kept in a file beside the
// database, whatever can still be written there, so that a start does not forget it. It
// is safe for concurrent use.
type damage struct {
	marker string

	mu    sync.Mutex
	first error // guarded by mu
}

// markerOf is the file that remembers the damage of a database.
func markerOf(path string) string { return path + ".damaged" }

// remembered is what an earlier process has found.
func remembered(path string) (*damage, error) {
	d := &damage{marker: markerOf(path)}
	text, err := os.ReadFile(d.marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("reading whether the store was found damaged: %w", err)
	}
	d.first = fmt.Errorf("%w: %s (%s remembers it)", store.ErrDamaged, strings.TrimSpace(string(text)), d.marker)
	return d, nil
}

// found is the first damage, or nil.
func (d *damage) found() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first
}

// note keeps err, if it is the first.
func (d *damage) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first != nil {
		return
	}
	text := strings.TrimPrefix(err.Error(), store.ErrDamaged.Error()+": ")
	d.first = errors.Join(err, keep(d.marker, time.Now().UTC().Format(time.RFC3339)+" "+text+"\n"))
}

// keep writes a file that is there after a loss of power: it and its name are synced.
func keep(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// clear forgets the damage, once it is gone.
func (d *damage) clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(d.marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the store's damage: %w", err)
	}
	d.first = nil
	return nil
}

// judge makes an error that says that the file is damaged an ErrDamaged, and notes it.
// Every statement's error goes through here.
func (c conn) judge(err error) error {
	if err == nil {
		return nil
	}
	code := sqlite.ErrCode(err).ToPrimary()
	if code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB || strings.Contains(err.Error(), "malformed JSON") { // every body is JSON
		err = fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	if c.damage != nil && errors.Is(err, store.ErrDamaged) {
		c.damage.note(err)
	}
	return err
}

// Damage implements store.Store.
func (db *DB) Damage() error { return db.damage.found() }
