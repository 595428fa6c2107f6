package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

// exampleConfig writes the example catalog and a configuration over it, and loads both.
func exampleConfig(t *testing.T, edit func(catalog string), s3, vault string) (Config, error) {
	t.Helper()
	d := devCmd{Dir: filepath.Join(t.TempDir(), "dev")}
	if _, err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(d.Catalog)
	}
	file := filepath.Join(d.Dir, "c.yaml")
	text := strings.NewReplacer("/etc/valetkey/catalog", d.Catalog, "ceiling: role.json}", "ceiling: "+s3+"}\n  vault: {provider: vault, address: \"http://127.0.0.1:1\", auth: {method: token}, ceiling: "+vault+"}").Replace(good)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.loadRules()
	return c, err
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCeilings(t *testing.T) {
	const s3, vault = "catalog/ceilings/s3-role.json", "catalog/ceilings/vault-role.hcl"
	c, err := exampleConfig(t, nil, s3, "["+vault+"]")
	if err != nil || len(c.unproven()) > 0 {
		t.Fatalf("%v, %v", err, c.unproven())
	}
	rules, err := c.loadRules()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(c.ceilings(rules.Catalog), "\n")
	for _, want := range []string{"role s3: 3 scopes proven under", s3, "role vault: 2 scopes proven under"} {
		if !strings.Contains(lines, want) {
			t.Errorf("config check says %q, not %q", lines, want)
		}
	}

	for name, x := range map[string]struct {
		edit      func(catalog string)
		s3, vault string
		want      []string // none: it loads
	}{
		"unproven": {func(dir string) { write(t, filepath.Join(dir, "ceilings/s3-role.json"), "{") }, unproven, vault, nil},
		"no file":  {nil, "absent.json", vault, []string{`role "s3"`, "absent.json"}},
		"no policy": {func(dir string) {
			write(t, filepath.Join(dir, "ceilings/s3-role.json"), `{"Version":"2012-10-17","Statment":[]}`)
		}, s3, vault,
			[]string{"s3-role.json", "Statment"}},
		"of the other provider": {nil, vault, vault, []string{"vault-role.hcl"}},
		"both too small": {func(dir string) {
			write(t, filepath.Join(dir, "ceilings/s3-role.json"), `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:*Object","s3:ListBucket"],"Resource":"*"}}`)
			write(t, filepath.Join(dir, "ceilings/vault-role.hcl"), `path "secret/*" { capabilities = ["read", "list"] }`)
		}, s3, vault, []string{"s3-bucket-rebuild.yaml", "s3:CreateBucket on arn:aws:s3:::", `role "s3" does not by s3-role.json`, "db-creds.yaml", "read database/creds/"}},
		"a scope that was widened": {func(dir string) {
			file := filepath.Join(dir, "s3-prefix-read.yaml")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, strings.Replace(string(raw), "[s3:GetObject]", `["s3:GetObject*"]`, 1))
		}, s3, vault, []string{"s3-prefix-read.yaml", "s3:GetObject"}},
	} {
		c, err := exampleConfig(t, x.edit, x.s3, x.vault)
		if len(x.want) == 0 {
			if err != nil || len(c.unproven()) != 1 || !strings.Contains(strings.Join(c.ceilings(rules.Catalog), "\n"), "role s3: UNPROVEN") {
				t.Errorf("%s: %v, %v", name, err, c.unproven())
			}
			continue
		}
		if !errors.Is(err, scopes.ErrCatalog) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range x.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\ndoes not say %q", name, err, want)
			}
		}
	}
}

// A scope that is bound to Regions needs a role that can keep them.
// What a role's server would not keep, or does not have, is refused where the scope says it.
func TestScopesNeedTheirDialect(t *testing.T) {
	for _, x := range []struct{ dialect, more, want string }{
		{"aws", "bindings: {regions: [eu-west-1]}\n", ""},
		{"versitygw", "bindings: {source_cidrs: [192.0.2.0/24]}\n", ""},
		{"minio", "bindings: {regions: [eu-west-1]}\n", "s3-prefix-read.yaml:16:12: not for this enforcer"},
		{"minio", "bindings: {source_cidrs: [192.0.2.0/24]}\n", "a header of the caller's"},
		{"radosgw", "bindings: {regions: [eu-west-1]}\n", "aws:RequestedRegion"},
	} {
		edit := func(dir string) {
			file := filepath.Join(dir, "s3-prefix-read.yaml")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, string(raw)+x.more)
		}
		c, err := exampleConfig(t, edit, unproven, unproven)
		if err != nil {
			t.Fatal(err)
		}
		r := c.Roles["s3"]
		r.Dialect = x.dialect
		c.Roles["s3"] = r
		_, err = c.loadRules()
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, scopes.ErrDialect) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s, %s: %v", x.dialect, x.more, err)
		}
	}
}

func TestDevModeProvesTheExample(t *testing.T) {
	d := devCmd{Dir: filepath.Join(t.TempDir(), "dev")}
	if _, err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	c := d.config("spiffe://" + devDomain + "/operator")
	if _, err := c.loadRules(); err != nil || len(c.unproven()) > 0 {
		t.Errorf("%v, %v", err, c.unproven())
	}
	// At its own target the proof is for versitygw, the broker has no key there, and it may write deny entries.
	d.target = &devTarget{S3: "http://127.0.0.1:1", STS: "http://127.0.0.1:2", IAM: "http://127.0.0.1:3"}
	c = d.config("spiffe://" + devDomain + "/operator")
	if _, err := c.loadRules(); err != nil || len(c.unproven()) > 0 {
		t.Errorf("%v, %v", err, c.unproven())
	}
	r := c.Roles["s3"]
	if r.Dialect != "versitygw" || r.WebIdentityAudience == "" || !r.Revoke.RoleDeny || r.Revoke.AssumeRole == r.RoleARN {
		t.Errorf("%+v", r)
	}
	if err := errors.Join(c.check(), c.notOfDev()); err == nil || !strings.Contains(err.Error(), "dev mode") {
		t.Errorf("a dev folder passes for production: %v", err)
	}
	// Nor by another name, or as a copy of its key.
	elsewhere := t.TempDir()
	link, key := filepath.Join(elsewhere, "state.db"), filepath.Join(elsewhere, "ledger.key")
	if err := os.WriteFile(c.Store.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.Store.Path, link); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(c.Ledger.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, copied := range []Config{{Store: StoreConfig{Path: link}}, {Store: StoreConfig{Path: "x"}, Ledger: LedgerConfig{KeyFile: key}}} {
		if err := copied.notOfDev(); err == nil || !strings.Contains(err.Error(), "never passes for production") {
			t.Errorf("%+v passes for production: %v", copied, err)
		}
	}
	// A catalog without ceilings is served, and it is said that nothing is proven.
	if err := os.RemoveAll(filepath.Join(d.Catalog, "ceilings")); err != nil {
		t.Fatal(err)
	}
	c = d.config("spiffe://" + devDomain + "/operator")
	if _, err := c.loadRules(); err != nil || len(c.unproven()) != 2 {
		t.Errorf("%v, %v", err, c.unproven())
	}
}
