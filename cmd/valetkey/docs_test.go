package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	example "github.com/valetkey/valetkey/testdata/catalog"
)

// TestDocs runs the commands of each document in one folder, from top to bottom, and compares what they print and what
// they leave with. "cat" of a file that is not there yet writes it. The example catalog is in the folder as "catalog".
func TestDocs(t *testing.T) {
	t.Setenv("GORACE", raceOptions)
	for _, doc := range []string{"scopes.md", "catalog.md"} {
		t.Run(doc, func(t *testing.T) { runDoc(t, filepath.Join("..", "..", "docs", doc)) })
	}
}

func runDoc(t *testing.T, doc string) {
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	dir, ran := t.TempDir(), 0
	if err := os.CopyFS(filepath.Join(dir, "catalog"), example.Files); err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(text), "```console\n")[1:] {
		block, _, closed := strings.Cut(block, "\n```")
		if !closed || !strings.HasPrefix(block, "$ ") {
			t.Fatalf("block %d does not begin with a command, or does not end", i+1)
		}
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			name, isCat := strings.CutPrefix(command, "cat ")
			file := filepath.Join(dir, name)
			if _, err := os.Stat(file); isCat && err != nil {
				if err := os.WriteFile(file, []byte(want+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				continue
			}
			ran++
			if got := shell(t, dir, command); got != want {
				t.Errorf("$ %s\n%s\nbut %s has\n%s", command, got, doc, want)
			}
		}
	}
	if ran == 0 {
		t.Fatalf("%s has no command", doc)
	}
	t.Logf("%d commands", ran)
}

// shell runs a command and returns what it printed to either stream; a last line in brackets is a code other than 0.
func shell(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	text := string(out)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		text += "[" + strconv.Itoa(exit.ExitCode()) + "]"
	case err != nil:
		t.Fatal(err)
	}
	return strings.TrimSuffix(text, "\n")
}
