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
// taken from, and follows the links.
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
	raw, err := os.ReadFile(filepath.Join(root, file))
	must(t, err)
	links := regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(string(raw), -1)
	if len(links) < len(ways) {
		t.Errorf("%s has %d links", file, len(links))
	}
	for _, l := range links {
		if _, err := os.Stat(filepath.Join(root, "docs", l[1])); err != nil {
			t.Errorf("%s links to %s: %v", file, l[1], err)
		}
	}
}
