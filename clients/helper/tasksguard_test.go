package helper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAbandonedTasks is what a guard makes of what it is told.
func TestAbandonedTasks(t *testing.T) {
	for name, tt := range map[string]struct {
		said      string
		tasks     []string
		abandoned bool
	}{
		"all is well":            {"opened a\nclosed a\ndone\n", nil, false},
		"nothing was opened":     {"", nil, true},
		"one is open":            {"opened a\nopened b\nclosed a\n", []string{"b"}, true},
		"killed while it spoke":  {"opened a\nopened b", []string{"a"}, true},
		"killed while it closed": {"opened a\nclosed a", []string{"a"}, true},
		"killed at the end":      {"opened a\nclosed a\ndon", nil, true},
	} {
		tasks, abandoned := AbandonedTasks(strings.NewReader(tt.said))
		if !slices.Equal(tasks, tt.tasks) || abandoned != tt.abandoned {
			t.Errorf("%s: %v, %v", name, tasks, abandoned)
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
