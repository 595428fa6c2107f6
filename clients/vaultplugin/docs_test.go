package vaultplugin_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity"
)

// fenced returns a document's blocks of one language.
func fenced(t *testing.T, language string) (out []string) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/clients-vault.md")
	must(t, err)
	for i, part := range strings.Split(string(raw), "\n```") {
		if rest, ok := strings.CutPrefix(part, language+"\n"); ok && i%2 == 1 {
			out = append(out, rest+"\n")
		}
	}
	return out
}

// documented are the delegates that the document configures.
func documented(t *testing.T) (out []identity.Delegate) {
	t.Helper()
	blocks := fenced(t, "yaml")
	if len(blocks) != 1 {
		t.Fatalf("the document has %d blocks of configuration", len(blocks))
	}
	var c struct {
		Delegates []struct {
			ID     string   `yaml:"id"`
			Agents []string `yaml:"agents"`
		} `yaml:"delegates"`
	}
	must(t, yaml.UnmarshalWithOptions([]byte(blocks[0]), &c, yaml.Strict()))
	for _, d := range c.Delegates {
		out = append(out, identity.Delegate{ID: d.ID, Agents: d.Agents})
	}
	return out
}

// TestDocument types what docs/clients-vault.md prints, in its order, with the real
// command line. Only addresses, folders and the key are ours.
func TestDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	built, err := binaries()
	must(t, err)
	install(t, filepath.Join(built, "v0.2.0", pluginName), filepath.Join(w.plugins, pluginName+"-v0.2.0"))
	w.write(t, w.root, "secret/data/web/one", map[string]any{"data": map[string]any{"k": "web"}})
	cli, err := servers.Binary("vault")
	must(t, err)
	alice := ""
	given := map[string]bool{"broker.example.org:8443": false, "/run/spire/api.sock": false, "/etc/vault/plugins": false}
	shell := func(token, script string) string {
		t.Helper()
		for old, now := range map[string]string{"broker.example.org:8443": w.Addr(), "/run/spire/api.sock": w.socket, "/etc/vault/plugins": w.plugins} {
			given[old] = given[old] || strings.Contains(script, old)
			script = strings.ReplaceAll(script, old, now)
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-eu", "-c", script)
		cmd.Env = []string{
			"PATH=" + filepath.Dir(cli) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VAULT_ADDR=" + w.vault.Addr, "VAULT_TOKEN=" + token,
			"VALETKEY_LEDGER_KEY=" + w.Key.VerifierKey(), "PASSWORD=p-alice",
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s\n%s", err, stderr.String(), script)
		}
		return stdout.String()
	}
	blocks := fenced(t, "sh")
	if len(blocks) != 9 { // 6 and 7 are TestDocumentedApproval's
		t.Fatalf("the document has %d blocks of commands; say here how to try them", len(blocks))
	}
	root := w.vault.RootToken
	shell(root, blocks[0])
	shell(root, blocks[1])
	alice = w.login(t, "alice").Token()
	out := shell(alice, blocks[2])
	for _, want := range []string{"s3-bucket-rebuild", "default_ttl", "s3:GetObject", "lease_duration     14m", "security_token", aliceID} {
		if !strings.Contains(out, want) {
			t.Errorf("it prints no %q", want)
		}
	}
	// What the document shows of the answer is in the answer.
	for _, line := range strings.Split(strings.TrimSpace(fenced(t, "text")[0]), "\n") {
		if key := strings.Fields(line)[0]; !strings.Contains(out, "\n"+key+" ") {
			t.Errorf("the answer has no %s", key)
		}
	}
	shell(alice, blocks[3])
	if w.count("task.closed") != 1 {
		t.Error("the task is open")
	}
	if out := shell(root, strings.Replace(blocks[4], "LEASE=$(vault read", "LEASE=$(VAULT_TOKEN="+alice+" vault read", 1)+blocks[5]); !strings.Contains(out, "Success") {
		t.Errorf("renewing and revoking says:\n%s", out)
	}
	shell(root, blocks[8])
	mounts, err := w.root.Sys().ListMountsWithContext(t.Context())
	must(t, err)
	if m := mounts["valetkey/"]; m.RunningVersion != "v0.2.0" {
		t.Errorf("the mount runs %s", m.RunningVersion)
	}
	for old, used := range given {
		if !used {
			t.Errorf("the document does not say %s any more", old)
		}
	}
}
