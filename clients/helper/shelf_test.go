package helper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShelfDir is whose folder a shelf takes.
func TestShelfDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shelf")
	s, err := NewShelf(ShelfConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewShelf(ShelfConfig{Dir: dir}); !errors.Is(err, errInUse) {
		t.Errorf("a folder in use: %v", err)
	}
	// As after a kill: what it made is there, and nobody holds it.
	if err := s.free(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "1.sock")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = NewShelf(ShelfConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed shelf left is there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
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
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := NewShelf(ShelfConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "name another") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("%s: it is gone: %v", name, err)
		}
	}
}
