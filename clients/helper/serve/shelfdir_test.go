package serve

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/clients/helper/files"
)

// TestShelfDir is whose folder a shelf takes.
func TestShelfDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shelf")
	s, err := NewShelf(ShelfConfig{Dir: dir})
	must(t, err)
	if _, err := NewShelf(ShelfConfig{Dir: dir}); !errors.Is(err, files.ErrInUse) {
		t.Errorf("a folder in use: %v", err)
	}
	// As after a kill: what it made is there, and nobody holds it.
	must(t, s.free())
	left := filepath.Join(dir, "1.sock")
	must(t, os.WriteFile(left, nil, 0o600))
	s, err = NewShelf(ShelfConfig{Dir: dir})
	must(t, err)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed shelf left is there: %v", err)
	}
	must(t, s.Close())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the folder is there: %v", err)
	}

	for name, prepare := range map[string]func(dir string) error{
		"a file of the user's": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("x"), 0o600))
		},
		"open to others": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755)) },
		"a link":         func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a file":         func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		dir := filepath.Join(t.TempDir(), "shelf")
		must(t, prepare(dir))
		if _, err := NewShelf(ShelfConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "name another") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("%s: it is gone: %v", name, err)
		}
	}
}

// TestRemoveShelf is what a guard removes, and what not.
func TestRemoveShelf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shelf")
	s, err := NewShelf(ShelfConfig{Dir: dir})
	must(t, err)
	must(t, RemoveShelf(dir)) // in use: another has it by now
	if _, err := os.Stat(s.ConfigFile()); err != nil {
		t.Errorf("a shelf in use: %v", err)
	}
	// As after a kill: the lock goes a moment later than the pipe.
	released := make(chan error, 1)
	time.AfterFunc(letGoWithin/20, func() { released <- s.free() })
	must(t, RemoveShelf(dir))
	must(t, <-released)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed shelf left: %v", err)
	}
	must(t, RemoveShelf(dir))
	thesis := filepath.Join(dir, "thesis.txt")
	must(t, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(thesis, nil, 0o600)))
	if err := RemoveShelf(dir); err == nil {
		t.Error("a folder with other files is taken for a shelf")
	}
	if _, err := os.Stat(thesis); err != nil {
		t.Errorf("the other file: %v", err)
	}
}
