package vault_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
)

// TestVaultAppRole logs in by an auth method that the package knows nothing of.
func TestVaultAppRole(t *testing.T) {
	w := newWorld(t)
	w.write(t, "sys/auth/approle", map[string]any{"type": "approle"})
	w.write(t, "auth/approle/role/broker", map[string]any{"token_policies": []string{"broker"}, "token_no_default_policy": true, "token_ttl": "1h"})
	id, err := w.root.Logical().ReadWithContext(t.Context(), "auth/approle/role/broker/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := w.root.Logical().WriteWithContext(t.Context(), "auth/approle/role/broker/secret-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	words["role_id"], _ = id.Data["role_id"].(string)
	words["secret_id"], _ = secret.Data["secret_id"].(string)
	login := func(context.Context) (map[string]string, error) { return words, nil }
	approle := func(c *vault.Config) { c.Auth = vault.Auth{Method: vault.MethodLogin, Mount: "approle", Login: login} }
	m := w.minter(t, approle)
	cred, err := m.Mint(t.Context(), w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if token := cred.Reveal().Vault.Token; !w.reads(t, token, "secret/data/a/one") || w.reads(t, token, "secret/data/b/one") {
		t.Error("the credential is not what was ordered")
	}
	words = map[string]string{"role_id": words["role_id"], "secret_id": "wrong"}
	_, err = w.minter(t, approle).Mint(t.Context(), w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
	check(t, err, mint.ErrRefused, false)
	words = nil
	_, err = w.minter(t, approle).Mint(t.Context(), w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
	check(t, err, mint.ErrUnavailable, false)
	if _, err := vault.New(t.Context(), vault.Config{
		Role: "test", Address: w.address, Permits: w.desk.Verifier, Auth: vault.Auth{Method: vault.MethodLogin, Login: login},
	}); err == nil || errors.Is(err, mint.ErrUnavailable) {
		t.Errorf("without a mount: %v", err)
	}
}
