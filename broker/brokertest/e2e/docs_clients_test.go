package e2e_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ways are the headings of docs/clients.md, and where each example is taken from:
// the tests of those pages run them.
var ways = map[string]string{
	"Go":                   "clients/valetkey/doc.go",
	"Programs as they are": "docs/clients-sidecar.md",
	"Coding agents":        "docs/clients-mcp.md",
	"Vault":                "docs/clients-vault.md",
}

// TestClientsIndex holds each example of docs/clients.md against the page it was
// taken from.
func TestClientsIndex(t *testing.T) {
	const file = "docs/clients.md"
	left := maps.Clone(ways)
	for _, s := range snippets(t, file) {
		heading := strings.TrimSuffix(strings.TrimPrefix(s.where, file+", "), ", 1")
		from, ok := left[heading]
		if !ok {
			if !strings.Contains(s.where, "`") { // a command's name in a line
				t.Errorf("nobody knows where this example is from: %s", s.where)
			}
			continue
		}
		delete(left, heading)
		raw, err := os.ReadFile(filepath.Join(root, from))
		must(t, err)
		page := string(raw)
		if strings.HasSuffix(from, ".go") {
			page = regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(page, "")
		}
		if !strings.Contains(page, s.text) {
			t.Errorf("%s is not in %s any more:\n%s", s.where, from, s.text)
		}
	}
	for _, heading := range slices.Sorted(maps.Keys(left)) {
		t.Errorf("%s has no example under %q", file, heading)
	}
}

// execAsIs is the README's first way in.
const execAsIs = "valetkey exec --scope s3-prefix-read bucket=logs prefix=2026/ -e staging -- aws s3 ls s3://logs/2026/"

// TestWaysIn holds each way in of the README against the page that it links to: the tests of those pages run them.
func TestWaysIn(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "README.md"))
	must(t, err)
	_, table, _ := strings.Cut(string(raw), "## Ways in")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| .* \\| .*`(.+)` \\| \\[[^\\]]+\\]\\(([^)#]+)").FindAllStringSubmatch(table, -1)
	if len(rows) != len(ways)+1 {
		t.Errorf("%d ways in", len(rows))
	}
	for _, row := range rows {
		page, err := os.ReadFile(filepath.Join(root, row[2]))
		must(t, err)
		if !strings.Contains(string(page), row[1]) {
			t.Errorf("%s does not have\n%s", row[2], row[1])
		}
	}
}

// TestLinks follows the links within the documents, to headings too.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	must(t, err)
	n := 0
	for _, file := range append(files, filepath.Join(root, "README.md"), filepath.Join(root, "ARCHITECTURE.md"), filepath.Join(root, "SECURITY.md")) {
		raw, err := os.ReadFile(file)
		must(t, err)
		for _, l := range regexp.MustCompile(`\]\(([^):]*)\)`).FindAllStringSubmatch(string(raw), -1) {
			n++
			name, anchor, _ := strings.Cut(l[1], "#")
			to := filepath.Join(filepath.Dir(file), name)
			if name == "" {
				to = file
			}
			page, err := os.ReadFile(to)
			if err != nil {
				t.Errorf("%s links to %s: %v", file, l[1], err)
			} else if anchor != "" && !slices.Contains(anchors(string(page)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", file, l[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("%d links: they were not found", n)
	}
}

// anchors are the headings of a page, as links name them.
func anchors(page string) (out []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		h := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		out = append(out, strings.ReplaceAll(h, " ", "-"))
	}
	return out
}
