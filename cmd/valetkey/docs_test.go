package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDocs runs the commands of docs/scopes.md in one folder, from top to bottom, and compares what they print and what
// they leave with. "cat" of a file that is not there yet writes it.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GORACE", raceOptions)
	dir, ran := t.TempDir(), 0
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
				t.Errorf("$ %s\n%s\nbut docs/scopes.md has\n%s", command, got, want)
			}
		}
	}
	if ran == 0 {
		t.Fatal("docs/scopes.md has no command")
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
