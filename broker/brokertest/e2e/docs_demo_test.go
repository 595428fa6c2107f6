package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// varies is what two runs of the demo differ in.
var varies = regexp.MustCompile(`\b(task|grant)_[0-9a-v]+|\bvk-[0-9A-Z-]+|KEY_ID=[A-Z0-9]+|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:]+Z|(root|envelope) +\S+|(\d+\.)?\d+ s\b|in \d+ seconds|broker's \d+ files|records +\d+|read +\d+ from`)

// demo runs it, and holds what it prints against docs/demo.md.
func (p *docs) demo(t *testing.T, text string) {
	demo, env := builtDemo(t)
	got := strings.Split(strings.TrimSpace(varies.ReplaceAllString(p.shell(t, env, demo).stdout, "_")), "\n")
	want := strings.Split(strings.TrimSpace(varies.ReplaceAllString(text, "_")), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d of %d is not what docs/demo.md shows, which has %d: got %q, want %q", i+1, len(got), len(want), at(got, i), at(want, i))
		}
	}
}

// excerpt is a part of docs/demo.md, where "..." stands for what is left out.
func (p *docs) excerpt(t *testing.T, text string) {
	whole := strings.Split(p.all["docs/demo.md, The demo, 1"], "\n")
	lines := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if s := strings.TrimSpace(line); s == "" || s == "..." {
			continue
		}
		at := slices.Index(whole, line)
		if at < 0 {
			t.Errorf("docs/demo.md has no such line, or has it before the last one:\n%s", line)
			continue
		}
		whole = whole[at+1:]
		lines++
	}
	if lines == 0 {
		t.Error("it shows nothing")
	}
}

// TestDemoFull tells the same story on MinIO and Vault. It checks its own claims, and fails where one does not hold.
func TestDemoFull(t *testing.T) {
	demo, env := builtDemo(t)
	p := &docs{dir: t.TempDir()}
	out := p.shell(t, env, demo+" -full").stdout
	for _, want := range []string{"refused by MinIO itself (403 AccessDenied): deleting the bucket", "refused by Vault itself (403)", "All went as told"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// builtDemo is the demo, and what tells it where the servers are.
func builtDemo(t *testing.T) (demo string, env []string) {
	t.Helper()
	demo = filepath.Join(t.TempDir(), "demo")
	if out, code := run(t, nil, "go", "build", "-o", demo, "github.com/valetkey/valetkey/testdata/demo"); code != 0 {
		t.Fatalf("building the demo: %s", out.stderr)
	}
	for _, name := range []string{"VALETKEY_SERVERS", "XDG_CACHE_HOME"} { // where its MinIO and aws are
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if len(env) == 0 {
		cache, err := os.UserCacheDir()
		must(t, err)
		env = append(env, "XDG_CACHE_HOME="+cache)
	}
	return demo, env
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
