package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// varies is what two runs of the demo differ in.
var varies = regexp.MustCompile(`\b(task|grant)_[0-9a-v]+|KEY_ID=[A-Z0-9]+|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:]+Z|(root|envelope) +\S+|(\d+\.)?\d+ s\b|in \d+ seconds|broker's \d+ files|records +\d+|read +\d+ from`)

// demo runs it, and holds what it prints against the README.
func (p *docs) demo(t *testing.T, text string) {
	demo := filepath.Join(t.TempDir(), "demo")
	if out, code := run(t, nil, "go", "build", "-o", demo, "github.com/valetkey/valetkey/testdata/demo"); code != 0 {
		t.Fatalf("building the demo: %s", out.stderr)
	}
	env := []string{}
	for _, name := range []string{"VALETKEY_SERVERS", "XDG_CACHE_HOME"} { // where its MinIO is
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if len(env) == 0 {
		cache, err := os.UserCacheDir()
		must(t, err)
		env = append(env, "XDG_CACHE_HOME="+cache)
	}
	got := strings.Split(strings.TrimSpace(varies.ReplaceAllString(p.shell(t, env, demo).stdout, "_")), "\n")
	want := strings.Split(strings.TrimSpace(varies.ReplaceAllString(text, "_")), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d of %d is not what the README shows, which has %d: got %q, want %q", i+1, len(got), len(want), at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
