package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
const root = "../../.."

// snippet is a fenced block of a document, or a command in a line of it.
type snippet struct {
	where string // "FILE, HEADING, N", or "FILE, `command`"
	text  string
}

// command is what starts a command in a line of text, where it is not the name
// of the program alone.
var command = regexp.MustCompile("`((?:valetkey|valetkeyd|make) [^`]+)`")

// snippets finds everything in a document that a reader could copy, but for its
// "console" blocks: those need no broker, and cmd/valetkey's own tests run them
// and hold what they print.
func snippets(t *testing.T, file string) (out []snippet) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, file))
	must(t, err)
	heading, n, fence, console := "", 0, false, false
	var block []string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```") && console:
			console = false
		case console:
		case line == "```console":
			console = true
		case strings.HasPrefix(line, "```") && fence:
			out = append(out, snippet{fmt.Sprintf("%s, %s, %d", file, heading, n), strings.Join(block, "\n") + "\n"})
			fence, block = false, nil
		case strings.HasPrefix(line, "```"):
			fence, n = true, n+1
		case fence:
			block = append(block, line)
		case strings.HasPrefix(line, "#"):
			heading, n = strings.TrimLeft(line, "# "), 0
		default:
			for _, m := range command.FindAllStringSubmatch(line, -1) {
				out = append(out, snippet{fmt.Sprintf("%s, `%s`", file, m[1]), m[1]})
			}
		}
	}
	if fence || console {
		t.Errorf("%s ends inside a fenced block", file)
	}
	return out
}

// TestSnippets runs what the documents print, as they print it. What a reader
// has to replace (addresses, folders) is replaced by name, where it is run. A
// snippet that nobody runs fails, and so does one that nobody prints any more.
func TestSnippets(t *testing.T) {
	all := map[string]string{}
	var order []string
	for _, file := range []string{
		"README.md", "docs/approvals.md", "docs/catalog.md", "docs/cli.md", "docs/config.md", "docs/demo.md", "docs/policy.md", "docs/production.md", "docs/record.md", "docs/revocation.md",
	} {
		found := snippets(t, file)
		if len(found) == 0 {
			t.Errorf("%s has no snippet", file)
		}
		for _, s := range found {
			if _, ok := all[s.where]; !ok {
				order = append(order, s.where)
			}
			all[s.where] = s.text
		}
	}
	p := newDocs(t, all)
	readers := p.readers()
	maps.Copy(readers, p.revocationReaders())
	for _, where := range slices.Sorted(maps.Keys(readers)) {
		if _, ok := all[where]; !ok {
			t.Errorf("no document has this snippet any more: %s", where)
		}
	}
	for _, where := range order {
		read, ok := readers[where]
		if !ok {
			t.Errorf("nobody runs this snippet; say in docs_run_test.go how:\n%s\n%s", where, all[where])
			continue
		}
		t.Run(where, func(t *testing.T) { read(t, all[where]) })
	}
}
