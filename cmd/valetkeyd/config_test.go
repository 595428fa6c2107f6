package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
listen: 127.0.0.1:8700
catalog: /etc/valetkey/catalog
store: {path: /var/lib/valetkey/valetkey.db}
ledger: {key_file: /etc/valetkey/ledger.key}
identity:
  workload_api: unix:///run/spire/agent.sock
  trust_domains: [example.org]
  path_templates: ["/agent/{user}/{session}"]
roles:
  s3: {provider: aws, role_arn: "arn:aws:iam::111122223333:role/r", dialect: aws, ceiling: role.json}
`

func load(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(file)
	return err
}

func TestConfig(t *testing.T) {
	if err := load(t, good); err != nil {
		t.Fatal(err)
	}
	revoke := func(text string) string {
		return strings.Replace(good, "dialect: aws", "dialect: aws, revoke: {"+text+"}", 1)
	}
	if err := load(t, revoke("role_deny: true, policy_name: vk, role_cut: true, iam_endpoint: \"https://iam.example.org\"")); err != nil {
		t.Fatal(err)
	}
	if err := load(t, good+"delegates: [{id: spiffe://example.org/vault/plugin, agents: [\"/agent/{user}/vault\"]}]\nguard: {delegate_rate_per_minute: 600, delegate_burst: 50}\n"); err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"delegates.x.agents: names nobody":                                            good + "delegates: [{id: x}]\n",
		"delegates: one has no id":                                                    good + "delegates: [{agents: [\"/agent/{user}/vault\"]}]\n",
		"spiffe://example.org/agent/a/b is listed as a delegate, and is an agent":     good + "delegates: [{id: spiffe://example.org/agent/a/b, agents: [\"/agent/{user}/vault\"]}]\n",
		"spiffe://example.org/x is listed as an operator and as a delegate":           good + "operators: [spiffe://example.org/x]\ndelegates: [{id: spiffe://example.org/x, agents: [\"/agent/{user}/vault\"]}]\n",
		"spiffe://example.org/agent/a/b is listed as an operator, and is an agent":    good + "operators: [spiffe://example.org/agent/a/b]\n",
		"spiffe://example.org/person/bob is listed as an operator and as an approver": people(t, "") + "operators: [spiffe://example.org/person/bob]\n",
		"agnets":                                 good + "delegates: [{id: x, agnets: []}]\n",
		"roles.s3.revoke: says how":              revoke("role_cut: true"),
		"role_denny":                             revoke("role_denny: true"),
		"roles.v.revoke is for aws":              good + "  v: {provider: vault, address: \"http://v\", auth: {method: cert}, revoke: {role_deny: true}}\n",
		"more than one YAML document":            good + "---\nfloor: {destructive_approvals: 0}\n",
		"mapping key \"listen\" already defined": good + "listen: 127.0.0.1:1\n",
		"unknown field \"Listen\"":               good + "Listen: 127.0.0.1:1\n",
		"limits: -1":                             good + "limits: {connections: -1}\n",
		"colour":                                 good + "colour: blue\n",
		"[4:":                                    strings.Replace(good, "store: {path:", "store: {pth:", 1),
		"listen: \"8700\" is not host:port":      strings.Replace(good, "127.0.0.1:8700", "\"8700\"", 1),
		"roles.s3.dialect: invalid IAM policy: not modelled: dialect \"\" is none": strings.Replace(good, ", dialect: aws", "", 1),
		"roles.s3.ceiling is required":                                             strings.Replace(good, ", ceiling: role.json", "", 1),
		"roles.s3.ceiling: \"unproven\" goes":                                      strings.Replace(good, "ceiling: role.json", "ceiling: [role.json, unproven]", 1),
		"roles.s3.provider: \"gcp\" is not":                                        strings.Replace(good, "provider: aws", "provider: gcp", 1),
		"identity.trust_domains: at least one":                                     strings.Replace(good, "[example.org]", "[]", 1),
		"listen: \"\" is not host:port":                                            "\n",
		"guard.rate_by: no path template":                                          good + "guard: {rate_by: [usr]}\n",
		"store.retention: 1h0m0s is less":                                          strings.Replace(good, "valetkey.db}", "valetkey.db, retention: 1h}", 1),
		"drain: must be from 0s":                                                   good + "drain: -1s\n",
		"guard.rate_by: path template":                                             strings.Replace(good, "{user}/", "", 1),
	} {
		if err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

func TestDevModeStaysOnLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, ":1": false, "10.0.0.1:1": false, "example.org:1": false, "127.0.0.1": false, "[::]:1": false,
	} {
		if onLoopback(listen) != want {
			t.Errorf("%s: %v", listen, !want)
		}
	}
}

func TestDevModeTouchesNoOtherFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := devCmd{Dir: dir}
	if _, err := d.prepare(); err == nil {
		t.Fatal("it took a folder that is not its own")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestDevModeKeepsAnEditedCatalog(t *testing.T) {
	d := devCmd{Dir: filepath.Join(t.TempDir(), "dev")}
	if _, err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.Catalog, "s3-prefix-read.yaml")
	if err := os.WriteFile(file, []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := devCmd{Dir: d.Dir}
	if _, err := again.prepare(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "edited" {
		t.Errorf("%q, %v", raw, err)
	}
}
