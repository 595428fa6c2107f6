package proc

import (
	"slices"
	"strings"
	"testing"
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
		tasks, abandoned := abandonedTasks(strings.NewReader(tt.said))
		if !slices.Equal(tasks, tt.tasks) || abandoned != tt.abandoned {
			t.Errorf("%s: %v, %v", name, tasks, abandoned)
		}
	}
}
