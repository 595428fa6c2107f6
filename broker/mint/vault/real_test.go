package vault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const brokerPolicy = `
path "sys/policies/acl/vk-*"      { capabilities = ["create", "update", "delete"] }
path "auth/token/create-orphan"   { capabilities = ["create", "update", "sudo"] }
path "auth/token/revoke-accessor" { capabilities = ["create", "update"] }
path "sys/leases/revoke"          { capabilities = ["create", "update"] }
`

// world is a real Vault to which the broker logs in with a JWT-SVID.
type world struct {
	address string
	root    *api.Client
	key     *ecdsa.PrivateKey
	desk    *minttest.Desk
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := servers.Vault(t)
	w := &world{address: server.Addr, desk: minttest.NewDesk(t)}
	w.root = w.client(t, server.RootToken)
	var err error
	if w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(w.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pub := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	w.write(t, "sys/policies/acl/broker", map[string]any{"policy": brokerPolicy})
	w.write(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	w.write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": []string{pub}})
	w.write(t, "auth/jwt/role/broker", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"},
		"bound_subject": "spiffe://example.org/valetkeyd", "token_policies": []string{"broker"},
		"token_no_default_policy": true, "token_ttl": "1h",
	})
	w.write(t, "secret/data/a/one", map[string]any{"data": map[string]any{"k": "v"}})
	w.write(t, "secret/data/b/one", map[string]any{"data": map[string]any{"k": "v"}})
	return w
}

func (w *world) client(t *testing.T, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: w.address})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(token)
	return c
}

func (w *world) write(t *testing.T, path string, data map[string]any) {
	t.Helper()
	if _, err := w.root.Logical().WriteWithContext(t.Context(), path, data); err != nil {
		t.Fatal(err)
	}
}

func (w *world) svid(_ context.Context, audience string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.key}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Subject: "spiffe://example.org/valetkeyd", Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}).Serialize()
}

func (w *world) minter(t *testing.T, change func(*vault.Config)) *vault.Minter {
	t.Helper()
	cfg := vault.Config{
		Role: "test", Address: w.address, Permits: w.desk.Verifier,
		Auth: vault.Auth{Method: vault.MethodJWT, Role: "broker", Audience: "vault", JWT: w.svid},
	}
	if change != nil {
		change(&cfg)
	}
	m, err := vault.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *world) reads(t *testing.T, token, path string) bool {
	t.Helper()
	s, err := w.client(t, token).Logical().ReadWithContext(t.Context(), path)
	return err == nil && s != nil
}

func (w *world) policies(t *testing.T) int {
	t.Helper()
	s, err := w.root.Logical().ListWithContext(t.Context(), "sys/policies/acl")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	keys, _ := s.Data["keys"].([]any)
	for _, k := range keys {
		if name, _ := k.(string); strings.HasPrefix(name, "vk-") {
			n++
		}
	}
	return n
}

func pathPermissions() scopes.Permissions {
	return scopes.Permissions{Vault: []vaultacl.Rule{{Path: "secret/data/a/*", Capabilities: []string{"read"}}}}
}

func TestVaultToken(t *testing.T) {
	w := newWorld(t)
	m := w.minter(t, nil)
	ctx := t.Context()

	t.Run("exactly the path, no renewal, revoked at once", func(t *testing.T) {
		o := minttest.Order(pathPermissions(), 2*time.Minute)
		cred, err := m.Mint(ctx, w.desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if cred.ExpiresAt().After(o.NotAfter) {
			t.Errorf("expires %v, after %v", cred.ExpiresAt(), o.NotAfter)
		}
		sec := cred.Reveal().Vault
		if sec.Accessor != cred.Handle().VaultAccessor || sec.Accessor == "" {
			t.Error("handle does not name the token")
		}
		if !w.reads(t, sec.Token, "secret/data/a/one") {
			t.Error("allowed path was refused")
		}
		for _, path := range []string{"secret/data/b/one", "auth/token/lookup-self", "sys/policies/acl/broker"} {
			if w.reads(t, sec.Token, path) {
				t.Errorf("%s was allowed", path)
			}
		}
		agent := w.client(t, sec.Token)
		if _, err := agent.Logical().WriteWithContext(ctx, "secret/data/a/one", map[string]any{"data": map[string]any{"k": "w"}}); err == nil {
			t.Error("write was allowed")
		}
		if _, err := agent.Auth().Token().RenewSelfWithContext(ctx, 3600); err == nil {
			t.Error("renewal was allowed")
		}
		for range 2 { // repeating is safe
			if outcome, err := m.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
				t.Fatalf("revoke: %v %v", outcome, err)
			}
		}
		if w.reads(t, sec.Token, "secret/data/a/one") {
			t.Error("a revoked token still reads")
		}
		if n := w.policies(t); n != 0 {
			t.Errorf("%d policies left", n)
		}
	})
	t.Run("dead at the deadline, even by the operator's renewal", func(t *testing.T) {
		cred, err := m.Mint(ctx, w.desk.Permit(minttest.Order(pathPermissions(), 3*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		token := cred.Reveal().Vault.Token
		_, _ = w.root.Auth().Token().RenewWithContext(ctx, token, 3600)
		minttest.Eventually(t, 6*time.Second, "the token is dead", func() bool { return !w.reads(t, token, "secret/data/a/one") })
		if late := time.Since(cred.ExpiresAt()); late > 1500*time.Millisecond {
			t.Errorf("died %v after its deadline", late)
		}
		if _, err := m.Revoke(ctx, cred.Handle()); err != nil {
			t.Errorf("revoking what is gone: %v", err)
		}
	})
	t.Run("an order's handle makes a lost token powerless", func(t *testing.T) {
		o := minttest.Order(pathPermissions(), time.Minute)
		cred, err := m.Mint(ctx, w.desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := m.Revoke(ctx, o.Handle(mint.ProviderVault)); err != nil || outcome != mint.DeadlineOnly {
			t.Fatalf("revoke: %v %v", outcome, err)
		}
		if w.reads(t, cred.Reveal().Vault.Token, "secret/data/a/one") {
			t.Error("a token without its policy still reads")
		}
	})
	t.Run("logs in again when Vault forgets it", func(t *testing.T) {
		w.write(t, "sys/leases/revoke-prefix/auth/jwt/login", nil)
		if _, err := m.Mint(ctx, w.desk.Permit(minttest.Order(pathPermissions(), time.Minute))); err != nil {
			t.Fatalf("minting after the login was revoked: %v", err)
		}
	})
	t.Run("by a token role, without sudo", func(t *testing.T) {
		w.write(t, "auth/token/roles/agents", map[string]any{"allowed_policies_glob": "vk-*", "orphan": true, "renewable": false})
		w.write(t, "sys/policies/acl/broker", map[string]any{"policy": strings.Replace(brokerPolicy,
			`"auth/token/create-orphan"   { capabilities = ["create", "update", "sudo"] }`,
			`"auth/token/create/agents" { capabilities = ["update"] }`, 1)})
		rm := w.minter(t, func(c *vault.Config) { c.TokenRole = "agents" })
		cred, err := rm.Mint(ctx, w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		if !w.reads(t, cred.Reveal().Vault.Token, "secret/data/a/one") {
			t.Error("allowed path was refused")
		}
		before := w.policies(t)
		// The other minter may no longer create tokens: its policy is taken back.
		_, err = m.Mint(ctx, w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
		check(t, err, mint.ErrRefused, false)
		if n := w.policies(t); n != before {
			t.Errorf("%d policies, had %d: a refused minting left one", n, before)
		}
	})
	t.Run("a foreign login is refused", func(t *testing.T) {
		bad := w.minter(t, func(c *vault.Config) { c.Auth.Audience = "elsewhere" })
		_, err := bad.Mint(ctx, w.desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
		check(t, err, mint.ErrRefused, false)
	})
}

// database is a database engine with accounts of an hour in pg.
func (w *world) database(t *testing.T, pg servers.PostgresServer) {
	t.Helper()
	w.write(t, "sys/mounts/database", map[string]any{"type": "database"})
	w.write(t, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
		"connection_url": "postgresql://{{username}}:{{password}}@" + pg.Addr + "/postgres?sslmode=disable",
		"username":       pg.User, "password": pg.Password,
	})
	w.write(t, "database/roles/reader", map[string]any{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
	})
}

func TestVaultDynamicSecret(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	pg := servers.Postgres(t)
	w.database(t, pg)
	users := func() int {
		s, err := w.root.Logical().ListWithContext(ctx, "sys/leases/lookup/database/creds/reader")
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			return 0
		}
		keys, _ := s.Data["keys"].([]any)
		return len(keys)
	}
	m := w.minter(t, func(c *vault.Config) { c.Mounts = postgresProbe(t, pg) })
	perms := scopes.Permissions{VaultRead: "database/creds/reader"}

	t.Run("revoked with its lease", func(t *testing.T) {
		o := minttest.Order(perms, 2*time.Minute)
		cred, err := m.Mint(ctx, w.desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if cred.ExpiresAt().After(o.NotAfter) {
			t.Error("expires after its deadline")
		}
		sec := cred.Reveal().Vault
		var login struct{ Username, Password string }
		if err := json.Unmarshal(sec.DataJSON, &login); err != nil || login.Username == "" || login.Password == "" {
			t.Fatalf("data is no login: %v", err)
		}
		if sec.Token != "" {
			t.Error("the broker's reading token was delivered")
		}
		if sec.LeaseID == "" || sec.LeaseID != cred.Handle().VaultLeaseID || users() != 1 {
			t.Error("handle does not name the lease")
		}
		if outcome, err := m.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
			t.Fatalf("revoke: %v %v", outcome, err)
		}
		if n := users(); n != 0 {
			t.Errorf("%d leases left", n)
		}
	})
	t.Run("ends at the deadline though the engine gives an hour", func(t *testing.T) {
		if _, err := m.Mint(ctx, w.desk.Permit(minttest.Order(perms, 2500*time.Millisecond))); err != nil {
			t.Fatal(err)
		}
		minttest.Eventually(t, 40*time.Second, "the lease is gone", func() bool { return users() == 0 })
	})
	t.Run("wrapped", func(t *testing.T) {
		wrapping := perms
		wrapping.VaultWrap = true
		cred, err := m.Mint(ctx, w.desk.Permit(minttest.Order(wrapping, time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		sec := cred.Reveal().Vault
		if sec.WrappingToken == "" || sec.DataJSON != nil || sec.Token != "" {
			t.Fatal("secret is not wrapped")
		}
		got, err := w.client(t, sec.WrappingToken).Logical().UnwrapWithContext(ctx, "")
		if err != nil || got.Data["username"] == "" {
			t.Fatalf("unwrapping: %v", err)
		}
		// Vault forgets an unwrapped token a moment after it answered, and says 400 until then.
		minttest.Eventually(t, 40*time.Second, "it is revoked", func() bool {
			outcome, err := m.Revoke(ctx, cred.Handle())
			if err == nil && outcome != mint.RevokedUpstream {
				t.Errorf("revoke: %v", outcome)
			}
			return err == nil
		})
		minttest.Eventually(t, 40*time.Second, "the lease is gone", func() bool { return users() == 0 })
	})
	t.Run("revoked in its wrapping", func(t *testing.T) {
		wrapping := perms
		wrapping.VaultWrap = true
		cred, err := m.Mint(ctx, w.desk.Permit(minttest.Order(wrapping, time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		other, err := m.Mint(ctx, w.desk.Permit(minttest.Order(wrapping, time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeating is safe
			if outcome, err := m.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
				t.Fatalf("revoke: %v %v", outcome, err)
			}
		}
		if s, err := w.client(t, cred.Reveal().Vault.WrappingToken).Logical().UnwrapWithContext(ctx, ""); err == nil {
			t.Errorf("a revoked wrapping opens, with %d fields in it", len(s.Data))
		}
		if s, err := w.client(t, other.Reveal().Vault.WrappingToken).Logical().UnwrapWithContext(ctx, ""); err != nil || s.Data["username"] == "" {
			t.Errorf("another one does not: %v", err)
		}
		minttest.Eventually(t, 40*time.Second, "the unwrapped one is revoked", func() bool {
			_, err := m.Revoke(ctx, other.Handle())
			return err == nil
		})
		minttest.Eventually(t, 40*time.Second, "the leases are gone", func() bool { return users() == 0 })
	})
	t.Run("a secret without a lease is refused and leaves nothing", func(t *testing.T) {
		_, err := m.Mint(ctx, w.desk.Permit(minttest.Order(scopes.Permissions{VaultRead: "secret/data/a/one"}, time.Minute)))
		check(t, err, mint.ErrInvalid, true) // something was read, and nobody saw that revoking ends it
		if n := w.policies(t); n != 1 {      // that of the minting that ended by its deadline
			t.Errorf("%d policies, want 1", n)
		}
	})
}

// TestMain keeps the developer's own Vault settings out of the servers and clients.
func TestMain(m *testing.M) {
	for _, name := range []string{"VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}
