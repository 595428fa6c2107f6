package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/ledger"
)

// vaultSite is a configuration whose one role is at a real Vault, with the page's token role and policy.
type vaultSite struct {
	file, token string
	root        *api.Client
}

func newVaultSite(t *testing.T) *vaultSite {
	t.Helper()
	server, dir := servers.Vault(t), t.TempDir()
	root, err := api.NewClient(&api.Config{Address: server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	root.SetToken(server.RootToken)
	v := &vaultSite{file: filepath.Join(dir, "valetkeyd.yaml"), token: filepath.Join(dir, "vault-token"), root: root}
	if err := ledger.GenerateKey(filepath.Join(dir, "ledger.key"), "test.example.org/log"); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"catalog/policies", "catalog/tests"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "catalog/kv.yaml"), "name: kv\ndescription: Of the test.\nprovider: vault\nrole: vault\nparams: {team: {type: identifier}}\n"+
		"paths: [{path: \"secret/data/{team}/*\", capabilities: [read]}]\nttl: {default: 5m, max: 15m}\n")
	write(t, filepath.Join(dir, "catalog/policies/policy.yaml"), "approval_groups: []\nagent_paths: [\"/agent/{user}/{session}\"]\n")
	write(t, filepath.Join(dir, "catalog/policies/test.cedar"), "@id(\"test.kv\")\n@reason(\"the test\")\npermit (principal, action == Valetkey::Action::\"kv\", resource);\n")
	write(t, filepath.Join(dir, "catalog/tests/test.yaml"), "tests:\n  - name: yes\n    request: {agent: \"spiffe://example.org/agent/a/s\", scope: kv, params: {team: web}}\n    expect: {outcome: allow, policies: [test.kv], ttl: 5m}\n")
	write(t, filepath.Join(dir, "vault-role.hcl"), "path \"secret/data/+/*\" {\n  capabilities = [\"read\"]\n}\n")
	write(t, v.file, strings.NewReplacer("/etc/valetkey/catalog", filepath.Join(dir, "catalog"), "/etc/valetkey/ledger.key", filepath.Join(dir, "ledger.key")).Replace(
		good[:strings.Index(good, "roles:")])+"roles:\n  vault:\n    provider: vault\n    address: "+server.Addr+"\n    ceiling: vault-role.hcl\n    token_role: agents\n    auth: {method: token, token_file: "+v.token+"}\n")
	v.write(t, "auth/token/roles/agents", map[string]any{"allowed_policies_glob": "vk-*", "orphan": true, "renewable": false})
	return v
}

func (v *vaultSite) write(t *testing.T, path string, data map[string]any) {
	t.Helper()
	if _, err := v.root.Logical().WriteWithContext(t.Context(), path, data); err != nil {
		t.Fatal(err)
	}
}

// policyOfPage is what docs/revocation.md gives the broker.
func policyOfPage(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/revocation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(raw), "```hcl\n")
	policy, _, ok2 := strings.Cut(block, "```")
	if !ok || !ok2 {
		t.Fatal("the page has no policy")
	}
	return policy
}

// TestConfigCheckLive has the program look at a real Vault, with a token of as little as can be, of
// more, of less, and of root, and ends as its page says.
func TestConfigCheckLive(t *testing.T) {
	v := newVaultSite(t)
	policy := policyOfPage(t)
	log := slog.New(slog.DiscardHandler)
	for name, tc := range map[string]struct {
		policy string // "" for the root token
		code   int
		says   string
	}{
		"as little as can be": {policy, 0, "role vault: ok: the broker has the rights that it needs"},
		"more":                {policy + "path \"secret/*\" { capabilities = [\"read\"] }\n", 2, "role vault: beyond: read on secret/data/valetkey-check/*"},
		"less":                {strings.Replace(policy, "auth/token/revoke-accessor", "auth/token/another", 1), 1, "role vault: missing: update on auth/token/revoke-accessor"},
		"may not ask":         {strings.Replace(policy, "sys/capabilities-self", "sys/another", 1), 3, "role vault: unknown: the broker may not ask"},
		"root":                {"", 2, "role vault: beyond: the broker's token is a root token"},
	} {
		t.Run(name, func(t *testing.T) {
			token := v.root.Token()
			if tc.policy != "" {
				v.write(t, "sys/policies/acl/broker", map[string]any{"policy": tc.policy})
				s, err := v.root.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"broker"}, NoDefaultPolicy: true})
				if err != nil {
					t.Fatal(err)
				}
				token = s.Auth.ClientToken
			}
			write(t, v.token, token)
			var err error
			out := printedBy(t, func() { err = (&configCheckCmd{File: v.file, Live: true}).Run(t.Context(), log) })
			code := 0
			if err != nil {
				code = exitCode(err)
			}
			if code != tc.code || !strings.Contains(out, tc.says) {
				t.Errorf("exits %d (%v), want %d; prints %q, want %q", code, err, tc.code, out, tc.says)
			}
			if strings.Contains(out, token) {
				t.Error("it prints the token")
			}
		})
	}
	// Without --live nothing is asked.
	if err := os.Remove(v.token); err != nil {
		t.Fatal(err)
	}
	var err error
	printedBy(t, func() { err = (&configCheckCmd{File: v.file}).Run(t.Context(), log) })
	if err != nil {
		t.Error(err)
	}
	var exit *exitError
	printedBy(t, func() { err = (&configCheckCmd{File: v.file, Live: true}).Run(t.Context(), log) })
	if !errors.As(err, &exit) || exit.code != exitUnknown {
		t.Errorf("without a token: %v", err)
	}
}

// printedBy is what fn prints to standard output.
func printedBy(t *testing.T, fn func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = old }()
	fn()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The page's own configurations load.
func TestRevocationPageLoads(t *testing.T) {
	raw, err := os.ReadFile("../../docs/revocation.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, block := range strings.Split(string(raw), "\n```") {
		text, ok := strings.CutPrefix(block, "yaml\n")
		if i%2 == 0 || !ok {
			continue
		}
		n++
		text = strings.Replace(text, "dialect: aws", "dialect: aws\n    ceiling: role.json", 1)
		if err := load(t, good[:strings.Index(good, "roles:")]+text); err != nil {
			t.Errorf("block %d: %v\n%s", n, err, text)
		}
	}
	if n != 2 {
		t.Errorf("%d configurations on the page", n)
	}
}

func TestUpstreamConfig(t *testing.T) {
	v := good + "  v: {provider: vault, address: \"http://v\", auth: {method: cert}, ceiling: v.hcl, "
	for text, fault := range map[string]string{
		v + "token_role: agents, mounts: {database/: {revocable: true, probe_command: [/bin/probe]}}}\n": "",
		v + "token_role: a/b}\n": "roles.v.token_role",
		v + "mounts: {database: {revocable: true, probe_command: [/bin/probe]}}}\n":                                "is not a path like",
		v + "mounts: {team/: {}, team/db/: {revocable: true, probe_command: [/bin/probe]}}}\n":                     "is inside of mount",
		v + "mounts: {database/: {revocable: true}}}\n":                                                            "revocable needs a probe",
		v + "mounts: {database/: {probe_command: [/bin/probe]}}}\n":                                                "a probe needs revocable",
		strings.Replace(good, "dialect: aws", "dialect: aws, token_role: x", 1):                                    "are for vault",
		strings.Replace(good, "dialect: aws", "dialect: aws, mounts: {a/: {}}", 1):                                 "are for vault",
		strings.Replace(good, "dialect: aws", "dialect: aws, revoke: {assume_role: \"arn:aws:iam::1:role/r\"}", 1): "role_deny is not true",
	} {
		err := load(t, text)
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("want %q, got %v", fault, err)
		}
	}
}
