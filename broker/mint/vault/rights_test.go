package vault_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
)

// printed is the block of docs/revocation.md that holds the words.
func printed(t *testing.T, words string) string {
	t.Helper()
	raw, err := os.ReadFile("../../../docs/revocation.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(raw), "\n```") {
		if i%2 == 1 && strings.Contains(block, words) {
			_, text, _ := strings.Cut(block, "\n")
			return text + "\n"
		}
	}
	t.Fatalf("the page has no block with %q", words)
	return ""
}

// printedRole is the token role that the page has its readers write.
func printedRole(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, word := range strings.Fields(printed(t, "vault write auth/token/roles/agents")) {
		if key, value, ok := strings.Cut(word, "="); ok {
			out[key] = strings.Trim(value, "'")
		}
	}
	if len(out) < 3 {
		t.Fatalf("the page's role has %v", out)
	}
	return out
}

// TestRights compares what a token may do on a real Vault with what minting needs.
func TestRights(t *testing.T) {
	w := newWorld(t)
	role, leastPolicy := printedRole(t), printed(t, "auth/token/create/agents")
	check := func(t *testing.T, policy string, change func(*vault.Config)) mint.Findings {
		t.Helper()
		w.write(t, "sys/policies/acl/least", map[string]any{"policy": policy})
		token, err := w.root.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"least"}, NoDefaultPolicy: true})
		if err != nil {
			t.Fatal(err)
		}
		return w.minter(t, func(c *vault.Config) {
			c.TokenRole = "agents"
			c.Auth = vault.Auth{Method: vault.MethodToken, Token: func(context.Context) (string, error) { return token.Auth.ClientToken, nil }}
			if change != nil {
				change(c)
			}
		}).CheckRights(t.Context(), []string{"secret/data/web/*"})
	}
	// want finds one finding of that weight that says so; "" wants none at all.
	want := func(t *testing.T, got mint.Findings, j mint.Judgement, says string) {
		t.Helper()
		for _, f := range got {
			if says != "" && f.Judgement == j && strings.Contains(f.Text, says) {
				return
			}
		}
		if says != "" || got.Worst() != mint.RightsNote {
			t.Errorf("want %v %q, got %v", j, says, got)
		}
	}
	w.write(t, "auth/token/roles/agents", role)
	t.Run("as little as can be, and it mints", func(t *testing.T) {
		before := w.accessors(t)
		want(t, check(t, leastPolicy, nil), mint.RightsNote, "")
		if after := w.accessors(t); after != before+1 { // the broker's own
			t.Errorf("%d tokens, had %d", after, before)
		}
		token, err := w.root.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"least"}, NoDefaultPolicy: true})
		if err != nil {
			t.Fatal(err)
		}
		m := w.minter(t, func(c *vault.Config) {
			c.TokenRole = "agents"
			c.Auth = vault.Auth{Method: vault.MethodToken, Token: func(context.Context) (string, error) { return token.Auth.ClientToken, nil }}
		})
		cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
		if err != nil || !w.reads(t, cred.Reveal().Vault.Token, "secret/data/a/one") {
			t.Fatalf("minting: %v", err)
		}
		if outcome, err := m.Revoke(t.Context(), cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
			t.Errorf("revoke: %v %v", outcome, err)
		}
	})
	t.Run("root", func(t *testing.T) {
		got := check(t, leastPolicy, func(c *vault.Config) {
			c.Auth.Token = func(context.Context) (string, error) { return w.root.Token(), nil }
		})
		want(t, got, mint.RightsBeyond, "root token")
	})
	for name, tc := range map[string]struct {
		add  string
		j    mint.Judgement
		says string
	}{
		"secrets":              {`path "secret/*" { capabilities = ["read"] }`, mint.RightsBeyond, "read on secret/data/web/*"},
		"everything":           {`path "*" { capabilities = ["read", "sudo"] }`, mint.RightsBeyond, "sudo"},
		"any policy":           {`path "sys/policies/acl/*" { capabilities = ["update"] }`, mint.RightsBeyond, "update on sys/policies/acl/*"},
		"its own token role":   {`path "auth/token/roles/agents" { capabilities = ["update"] }`, mint.RightsBeyond, "auth/token/roles/agents"},
		"sudo, and no need":    {`path "auth/token/create-orphan" { capabilities = ["update", "sudo"] }`, mint.RightsBeyond, "auth/token/create-orphan"},
		"mounts":               {`path "sys/mounts/*" { capabilities = ["create", "read"] }`, mint.RightsBeyond, "sys/mounts/*"},
		"more on what it has":  {`path "sys/policies/acl/vk-*" { capabilities = ["create", "update", "delete", "list", "sudo"] }`, mint.RightsBeyond, "list"},
		"a right that is lost": {`path "sys/leases/revoke" { capabilities = ["deny"] }`, mint.RightsMissing, "update on sys/leases/revoke"},
		"who may not ask":      {`path "sys/capabilities-self" { capabilities = ["deny"] }`, mint.RightsUnknown, "sys/capabilities-self"},
	} {
		t.Run(name, func(t *testing.T) { want(t, check(t, leastPolicy+tc.add+"\n", nil), tc.j, tc.says) })
	}
	t.Run("without a token role", func(t *testing.T) {
		got := check(t, brokerPolicy+`path "sys/capabilities-self" { capabilities = ["update"] }`, func(c *vault.Config) { c.TokenRole = "" })
		want(t, got, mint.RightsBeyond, "set token_role")
		if got.Worst() != mint.RightsBeyond {
			t.Error(got)
		}
	})
	for name, tc := range map[string]struct {
		key   string
		value any
		j     mint.Judgement
		says  string
	}{
		"any policy by the role": {"allowed_policies_glob", "*", mint.RightsBeyond, "makes tokens with any policy"},
		"a parent":               {"orphan", false, mint.RightsMissing, "orphan=true"},
		"no policy of ours":      {"allowed_policies_glob", "other-*", mint.RightsMissing, "making a token"},
	} {
		t.Run(name, func(t *testing.T) {
			other := map[string]any{}
			for k, v := range role {
				other[k] = v
			}
			other[tc.key] = tc.value
			w.write(t, "auth/token/roles/agents", other)
			defer w.write(t, "auth/token/roles/agents", role)
			want(t, check(t, leastPolicy, nil), tc.j, tc.says)
		})
	}
	t.Run("no Vault", func(t *testing.T) {
		got := check(t, leastPolicy, func(c *vault.Config) { c.Address = "http://127.0.0.1:1" })
		want(t, got, mint.RightsUnknown, "asking Vault")
	})
}

func (w *world) accessors(t *testing.T) int {
	t.Helper()
	s, err := w.root.Logical().ListWithContext(t.Context(), "auth/token/accessors")
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := s.Data["keys"].([]any)
	return len(keys)
}
