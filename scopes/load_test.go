package scopes_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

var update = flag.Bool("update", false, "rewrite testdata/bad/errors.txt from what is returned; read the diff")

const good = `name: x
description: d
provider: aws
role: s3
params:
  bucket: {type: s3_bucket}
statements:
  - actions: [s3:GetObject]
    resources: ["arn:aws:s3:::{bucket}/*"]
ttl: {default: 15m, max: 1h}
`

// folder writes files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load loads one scope and returns it with its catalog.
func load(t testing.TB, text string) (*scopes.Catalog, *scopes.Scope) {
	t.Helper()
	c, err := loadAWS(folder(t, map[string]string{"x.yaml": text}))
	if err != nil {
		t.Fatal(err)
	}
	return c, c.Scopes()[0]
}

func TestExampleCatalogLoads(t *testing.T) {
	c, err := loadAWS("../testdata/catalog")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]scopes.Tier{"s3-prefix-read": scopes.TierRead, "s3-prefix-write": scopes.TierWrite, "s3-bucket-rebuild": scopes.TierDestructive,
		"vault-kv-read": scopes.TierRead, "db-creds": scopes.TierWrite}
	for _, s := range c.Scopes() {
		if s.Tier() != want[s.Name()] {
			t.Errorf("%s is %s", s.Name(), s.Tier())
		}
		if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(s.Version()) {
			t.Errorf("%s has version %q", s.Name(), s.Version())
		}
		delete(want, s.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}

// Every bad file is refused with its place and its reason, which errors.txt keeps.
func TestBadCatalogs(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d bad files, %v", len(files), err)
	}
	var got strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := loadAWS(folder(t, map[string]string{filepath.Base(f): string(text)}))
		if !errors.Is(err, scopes.ErrCatalog) || c != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if !regexp.MustCompile(regexp.QuoteMeta(filepath.Base(f)) + `:\d+:\d+: `).MatchString(err.Error()) {
			t.Errorf("no place in %q", err)
		}
		got.WriteString(strings.TrimPrefix(err.Error(), scopes.ErrCatalog.Error()+": ") + "\n")
	}
	const golden = "testdata/bad/errors.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d differs; run with -update and read the diff\ngot  %q\nwant %q", i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

func TestEmptySetsAreErrEmpty(t *testing.T) {
	for _, name := range []string{"no-statements", "empty-actions", "empty-resources", "vault-nothing", "vault-no-capability"} {
		text, err := os.ReadFile("testdata/bad/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := loadAWS(folder(t, map[string]string{"x.yaml": string(text)})); !errors.Is(err, scopes.ErrEmpty) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFolders(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":     {},
		"only others": {"readme.md": "x"},
		"yml":         {"a.yaml": good, "b.yml": good},
		"same name":   {"a.yaml": good, "b.yaml": good},
		"one bad":     {"a.yaml": good, "b.yaml": "name: [", "c.yaml": "nam: x"},
		"too large":   {"a.yaml": good + "#" + strings.Repeat("x", 10<<20)},
		"binary":      {"a.yaml": "\x00\xff\xfe"},
		"deep":        {"a.yaml": strings.Repeat("[", 5000)},
	} {
		if c, err := loadAWS(folder(t, files)); !errors.Is(err, scopes.ErrCatalog) || c != nil {
			t.Errorf("%s: %v", name, err)
		} else if name == "one bad" && (!strings.Contains(err.Error(), "b.yaml:1:") || !strings.Contains(err.Error(), "c.yaml:1:1:")) {
			t.Errorf("%s: not every file is named: %v", name, err)
		}
	}
	if _, err := loadAWS(filepath.Join(t.TempDir(), "none")); !errors.Is(err, scopes.ErrCatalog) {
		t.Errorf("a missing folder: %v", err)
	}
	dir := folder(t, map[string]string{"a.yaml": good, ".hidden.yaml": "["})
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadAWS(dir); err != nil {
		t.Errorf("a folder and a hidden file: %v", err)
	}
}

// The version changes with the meaning, and with nothing else.
func TestVersion(t *testing.T) {
	_, first := load(t, good)
	for _, same := range []string{good, "# a comment\n" + good, strings.Replace(good, "[s3:GetObject]", "[S3:getobject, s3:GetObject]", 1)} {
		if _, s := load(t, same); s.Version() != first.Version() {
			t.Errorf("another version for the same meaning:\n%s", same)
		}
	}
	for _, c := range [][2]string{{"name: x", "name: y"}, {"d\n", "e\n"}, {"role: s3", "role: s4"}, {"s3_bucket}", "s3_bucket, allowed: [abc]}"}, {"s3_bucket}", "s3_bucket, list: true}"},
		{"s3:GetObject]", "s3:GetObjectAcl]"}, {"{bucket}/*", "{bucket}/a*"}, {"15m", "14m"}, {"1h", "2h"}, {"1h}\n", "1h}\nbindings: {source_cidrs: [10.0.0.0/8]}\n"}, {"1h}\n", "1h}\nbindings: {regions: [eu-west-1]}\n"},
		{"/*\"]", "/*\"]\n    conditions: {Bool: {\"aws:SecureTransport\": true}}"}} {
		changed := strings.Replace(good, c[0], c[1], 1)
		if changed == good {
			t.Fatalf("%q is not there", c[0])
		}
		if _, s := load(t, changed); s.Version() == first.Version() {
			t.Errorf("%q to %q kept the version", c[0], c[1])
		}
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds")
	}
	for _, name := range append(files, "../testdata/catalog/db-creds.yaml", "../testdata/catalog/s3-prefix-read.yaml") {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "x.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadAWS(dir)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v", c, err)
		}
		if err != nil {
			if !errors.Is(err, scopes.ErrCatalog) {
				t.Fatal(err)
			}
			return
		}
		for _, s := range c.Scopes() {
			if s.Tier() == scopes.TierUnspecified {
				t.Fatalf("no tier for %q", text)
			}
		}
	})
}

// loadAWS loads a catalog all of whose roles are AWS's.
func loadAWS(dir string) (*scopes.Catalog, error) {
	c, err := scopes.Load(dir)
	if err != nil {
		return nil, err
	}
	return c.For(iam.DialectAWS)
}
