package mcp_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/mcp"
)

// leaks are the secrets in b, in any way that they may be spelled.
func leaks(b []byte, secrets []string) (out []string) {
	for _, s := range secrets {
		quoted, _ := json.Marshal(s)
		for name, spelled := range map[string]string{
			"plain": s, "json": strings.Trim(string(quoted), `"`), "url": url.QueryEscape(s), "path": url.PathEscape(s), "hex": hex.EncodeToString([]byte(s)),
			"base64": base64.RawStdEncoding.EncodeToString([]byte(s)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(s)),
			// In a text that is JSON itself.
			"json in json": strings.Trim(string(must2(json.Marshal(strings.Trim(string(quoted), `"`)))), `"`),
		} {
			if bytes.Contains(b, []byte(spelled)) {
				out = append(out, fmt.Sprintf("%s of %.12s...", name, s))
			}
		}
	}
	return out
}

func must2(b []byte, _ error) []byte { return b }

// TestNoSecretReachesAClient calls every tool in every way, has commands print
// what they were given, and looks for secrets in every byte that came back.
func TestNoSecretReachesAClient(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		// A Vault that tells everybody the token that they came with.
		vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "{%q: %q}\n", "your token", r.Header.Get("X-Vault-Token"))
		}))
		t.Cleanup(vault.Close)
		m := &minter{vault: vault.URL}
		s := &site{h: brokertest.NewRunning(t, brokertest.Config{Minter: func(v *mint.Verifier, _ *brokertest.Clock) mint.Minter {
			m.permits = v
			return m
		}})}
		s.serve(t, func(c *mcp.Config) { c.Run = &mcp.Run{Programs: []string{"sh", "echo"}} })
		c := connect(s, t)
		_, err := c.ListTools(t.Context(), nil)
		must(t, err)
		task := openTask(t, c)
		aws := ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod))
		kv := ask[mcp.AccessOut](t, c, "request_access", request(task, "vault-kv-read", map[string]any{"team": "web"}))
		db := ask[mcp.AccessOut](t, c, "request_access", request(task, "db-creds", map[string]any{"role": "app"}))
		if len(m.all()) != 4 {
			t.Fatalf("%d secrets were minted", len(m.all()))
		}
		if db.Renewed || !kv.Renewed || kv.Environment["VAULT_ADDR"] == "" || db.Environment["PGSERVICE"] == "" {
			t.Errorf("vault: %+v, database: %+v", kv, db)
		}

		// What each command prints is a secret, as it is and in other dress.
		const process = `p() { curl -sS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; }; `
		for name, tt := range map[string]struct{ access, script string }{
			"aws":        {aws.Access, process + `p; p >&2`},
			"aws base64": {aws.Access, process + `p | sed 's/.*SecretAccessKey":"//; s/".*//' | tr -d '\n' | base64 -w0`},
			"aws lines":  {aws.Access, process + `p | base64`},
			"aws dump":   {aws.Access, process + `p | od -v -Ax -tx1z`},
			"vault":      {kv.Access, `curl -sS -H "X-Vault-Request: true" "$VAULT_ADDR/v1/secret/data/web/db"`},
			"database":   {db.Access, `cat "$(sed -n 's/^passfile=//p' "$PGSERVICEFILE")"`},
		} {
			got := ask[mcp.RunCommandOut](t, c, "run_command", map[string]any{"access": []string{tt.access}, "argv": []string{"sh", "-c", tt.script}})
			if got.ExitStatus != 0 || got.Redactions == 0 || !strings.Contains(got.Stdout, "[redacted]") {
				t.Errorf("%s: %+v", name, got)
			}
		}
		for _, a := range []string{aws.Access, kv.Access, db.Access} {
			ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": a})
		}

		// Errors of every kind.
		ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-bucket-rebuild", map[string]any{"bucket": "prod"}))
		refused(t, c, "request_access", request(task, "s3-raed", prod))
		refused(t, c, "request_access", request(task, "s3-prefix-read", map[string]any{"bucket": "prod"}))
		refused(t, c, "request_access", request("task-guess", "s3-prefix-read", prod))
		refused(t, c, "request_access", map[string]any{"nonsense": 1})
		refused(t, c, "run_command", map[string]any{"access": []string{aws.Access}, "argv": []string{"ls"}})
		refused(t, c, "open_task", map[string]any{"purpose": "x", "environment": "NOT ONE"})
		refused(t, c, "explain", map[string]any{"scope": "nothing"})
		_, err = c.CallTool(t.Context(), &sdk.CallToolParams{Name: "no_such_tool"})
		if err == nil {
			t.Error("a tool that does not exist answers")
		}
		_, err = c.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "file:///" + s.dir})
		if err == nil {
			t.Error("a resource that does not exist answers")
		}
		ask[mcp.ReleaseOut](t, c, "release", map[string]any{"access": kv.Access})
		if found := leaks([]byte(s.wire.String()), m.all()); len(found) > 0 {
			t.Errorf("clients received %v", found)
		}
		t.Logf("%d bytes received, %d secrets looked for", len(s.wire.String()), len(m.all()))

		// The control: what was looked for was there to be found, and would have been.
		process1 := exec.CommandContext(t.Context(), "sh", "-c", `p=$(sed -n 's/^credential_process = //p' "$AWS_CONFIG_FILE"); $p`)
		process1.Env = append(process1.Environ(), "AWS_CONFIG_FILE="+aws.ConfigFile)
		out, err := process1.Output()
		if found := leaks(out, m.all()); err != nil || len(found) < 2 {
			t.Errorf("the profile gives no secret (%v): %v", err, found)
		}
		// Also another access's is not printed.
		for _, secret := range m.all() {
			ask[mcp.RunCommandOut](t, c, "run_command", map[string]any{"access": []string{db.Access}, "argv": []string{"echo", secret}})
		}
		if found := leaks([]byte(s.wire.String()), m.all()); len(found) > 0 {
			t.Errorf("of other accesses clients received %v", found)
		}
		const heard = "what-is-no-secret-and-is-heard"
		ask[mcp.RunCommandOut](t, c, "run_command", map[string]any{"access": []string{db.Access}, "argv": []string{"echo", heard}})
		if len(leaks([]byte(s.wire.String()), []string{heard})) == 0 {
			t.Error("what a client received is not found")
		}

		// Without a broker.
		sofar := len(s.wire.String())
		s.h.Stop()
		for tool, args := range map[string]map[string]any{
			"access_status": {"access": aws.Access}, "list_scopes": {}, "open_task": {"purpose": "x", "environment": "staging"},
			"release": {"access": db.Access}, "run_command": {"access": []string{aws.Access}, "argv": []string{"echo"}},
		} {
			if r := refused(t, c, tool, args); r.Reason != mcp.ReasonUnavailable {
				t.Errorf("%s without a broker: %+v", tool, r)
			}
		}
		if found := leaks([]byte(s.wire.String()[sofar:]), m.all()); len(found) > 0 {
			t.Errorf("without a broker clients received %v", found)
		}
		if found := leaks([]byte(s.said()), m.all()); len(found) > 0 {
			t.Errorf("the log has %v", found)
		}
	})
}
