package serve

import (
	"context"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// vaultSource is a scope of a real Vault, in which the team has a secret.
func vaultSource(t *testing.T) *valetkey.Source {
	t.Helper()
	s := servers.Vault(t)
	root, err := api.NewClient(&api.Config{Address: s.Addr})
	must(t, err)
	root.SetToken(s.RootToken)
	_, err = root.Logical().WriteWithContext(t.Context(), "secret/data/web/db", map[string]any{"data": map[string]any{"password": "of-web"}})
	must(t, err)
	k := &clienttest.Kit{H: brokertest.NewRunning(t, brokertest.Config{
		Guard: clienttest.Unlimited,
		Minter: func(permits *mint.Verifier, clock *brokertest.Clock) mint.Minter {
			m, err := vault.New(t.Context(), vault.Config{
				Role: "vault", Address: s.Addr, Permits: permits, Now: clock.Now,
				Auth: vault.Auth{Method: vault.MethodToken, Token: func(context.Context) (string, error) { return s.RootToken, nil }},
			})
			must(t, err)
			return m
		},
	})}
	task, err := k.Dial(t).OpenTask(t.Context(), clienttest.Task)
	must(t, err)
	return task.Source("vault-kv-read", valetkey.Params{"team": {"web"}})
}

// TestAVaultWithoutAToken is read by Vault's own command and library, and not by a
// program that somebody else has fetch an address.
func TestAVaultWithoutAToken(t *testing.T) {
	src := vaultSource(t)
	handler, err := VaultProxy(src, "", discard())
	must(t, err)
	_, at := address(t, listen.NewPeers(nil, true), discard(), handler)
	url := "http://" + at
	for _, c := range []struct {
		header []string
		code   int
	}{
		{nil, http.StatusPreconditionFailed},
		{[]string{vaultRequest, "false"}, http.StatusPreconditionFailed},
		{[]string{vaultToken, "guessed"}, http.StatusPreconditionFailed},
		{[]string{vaultRequest, "true"}, http.StatusOK},
	} {
		code, body := ask(t, http.MethodGet, url+"/v1/secret/data/web/db", c.header...)
		if code != c.code || strings.Contains(body, "of-web") != (c.code == http.StatusOK) {
			t.Errorf("with %q: %d, want %d: %s", c.header, code, c.code, body)
		}
	}
	client, err := api.NewClient(&api.Config{Address: url})
	must(t, err)
	client.ClearToken()
	got, err := client.KVv2("secret").Get(t.Context(), "web/db")
	must(t, err)
	if got.Data["password"] != "of-web" {
		t.Error("the library reads something else")
	}
	binary, err := servers.Binary("vault")
	must(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "kv", "get", "-mount=secret", "-field=password", "web/db")
	cmd.Env = []string{"VAULT_ADDR=" + url, "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "of-web" {
		t.Errorf("the command says %s, %v", out, err)
	}

	// With a secret of its own an address needs nothing more.
	const secret = "of-the-proxy"
	handler, err = VaultProxy(src, secret, discard())
	must(t, err)
	_, at = address(t, listen.NewPeers(nil, true), discard(), handler)
	for token, want := range map[string]int{secret: http.StatusOK, "guessed": http.StatusForbidden, "": http.StatusForbidden} {
		if code, _ := ask(t, http.MethodGet, "http://"+at+"/v1/secret/data/web/db", vaultToken, token); code != want {
			t.Errorf("with a secret, and %q: %d, want %d", token, code, want)
		}
	}
}

// TestNoProxyToLoopback wants the proxy that the sidecar's own surroundings name to see
// nothing that goes to loopback, and everything else.
func TestNoProxyToLoopback(t *testing.T) {
	to := aroundLoopback(func(*http.Request) (*url.URL, error) { return &url.URL{Host: "proxy"}, nil })
	for address, want := range map[string]bool{
		"http://127.0.0.1:8200": false, "http://127.9.9.9": false, "http://[::1]:8200": false, "http://localhost:8200": false, "https://vault.example.org": true, "http://10.0.0.1": true,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		must(t, err)
		if proxy, err := to(req); err != nil || (proxy != nil) != want {
			t.Errorf("%s: %v, %v", address, proxy, err)
		}
	}
}
