package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exampleCatalog = "../../testdata/catalog"

func TestExampleTables(t *testing.T) {
	report, err := RunTables(exampleCatalog, exampleCatalog)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cases {
		if !c.Passed() {
			t.Errorf("%s: %s: %s", c.File, c.Name, strings.Join(c.Failures, "; "))
		}
	}
	if report.Files != 2 || len(report.Cases) < 10 || len(report.Unused) > 0 {
		t.Errorf("%d files, %d cases, policies never at work: %q", report.Files, len(report.Cases), report.Unused)
	}
}

const passing = `tests:
  - name: reads
    request:
      agent: spiffe://example.org/agent/ana/s1
      scope: s3-prefix-read
      params: {bucket: prod-data, prefix: reports/}
    expect: {outcome: allow}
`

func runTable(t *testing.T, text string) (Report, error) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "a.yaml", text)
	return RunTables(dir, exampleCatalog)
}

func TestTablesThatAreWrongFail(t *testing.T) {
	for expect, want := range map[string]string{
		"{outcome: deny}": "outcome allow, expected deny (storage.read: agents of example.org may read a prefix)",
		"{outcome: needs_approval, needs: {sre: 1}}":  "needs [], expected [{sre 1}]",
		"{outcome: allow, policies: [storage.write]}": `policies ["storage.read"], expected ["storage.write"]`,
		"{outcome: allow, policies: []}":              `policies ["storage.read"], expected []`,
		"{outcome: allow, reasons: [because]}":        `expected ["because"]`,
		"{outcome: allow, ttl: 5m}":                   "ttl 15m0s, expected 5m0s",
	} {
		report, err := runTable(t, strings.Replace(passing, "{outcome: allow}", expect, 1))
		if err != nil {
			t.Errorf("%s: %v", expect, err)
			continue
		}
		if report.Failed() != 1 || !strings.Contains(strings.Join(report.Cases[0].Failures, "\n"), want) {
			t.Errorf("%s: got %q, want %q", expect, report.Cases[0].Failures, want)
		}
	}
	for old, change := range map[string]string{
		"s3-prefix-read":                      "no-such-scope",
		"prefix: reports/":                    "prefix: \"reports/*\"",
		"spiffe://example.org/agent/ana/s1":   "spiffe://example.org/robot/ana/s1",
		"spiffe://example.org/agent/ana/s1\n": "not an id\n",
		"    expect:":                         "      ttl: forever\n    expect:",
		"   expect:":                          "     approvals: {boss: 1}\n    expect:",
		"  expect:":                           "    now: yesterday\n    expect:",
		" expect:":                            "   ttl: 10h\n    expect:",
	} {
		report, err := runTable(t, strings.Replace(passing, old, change, 1))
		if err != nil || report.Failed() != 1 || report.Cases[0].Err == nil || report.Cases[0].Got.Outcome != 0 {
			t.Errorf("%q: %+v, %v", change, report, err)
		}
	}
}

func TestTablesThatCannotRunAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no test":         "tests: []\n",
		"empty file":      "",
		"unknown key":     passing + "    more: true\n",
		"no name":         strings.Replace(passing, "name: reads", "name: \"\"", 1),
		"name twice":      passing + strings.TrimPrefix(passing, "tests:\n"),
		"no outcome":      strings.Replace(passing, "outcome: allow", "ttl: 5m", 1),
		"strange outcome": strings.Replace(passing, "outcome: allow", "outcome: perhaps", 1),
		"needs of nobody": strings.Replace(passing, "outcome: allow", "outcome: needs_approval", 1),
		"needs and allow": strings.Replace(passing, "outcome: allow", "outcome: allow, needs: {sre: 1}", 1),
		"deny and ttl":    strings.Replace(passing, "outcome: allow", "outcome: deny, ttl: 5m", 1),
		"strange ttl":     strings.Replace(passing, "outcome: allow", "outcome: allow, ttl: long", 1),
	} {
		if _, err := runTable(t, text); !errors.Is(err, ErrLoad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := RunTables(t.TempDir(), exampleCatalog); !errors.Is(err, ErrLoad) {
		t.Errorf("no tables: %v", err)
	}
	if _, err := RunTables(exampleCatalog, t.TempDir()); err == nil {
		t.Error("no catalog")
	}
}

func TestUnusedPoliciesAreNamed(t *testing.T) {
	report, err := runTable(t, passing)
	if err != nil || report.Failed() != 0 || len(report.Unused) == 0 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// A table's folder may hold characters that mean something to a pattern.
func TestFoldersAreNotPatterns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "a.yaml", passing)
	if _, err := RunTables(dir, exampleCatalog); err != nil {
		t.Error(err)
	}
}
