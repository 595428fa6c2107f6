package valetkey_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
	vkvault "github.com/valetkey/valetkey/clients/valetkey/vault"
)

// vaultWorld is a broker that mints at a real Vault.
func vaultWorld(t *testing.T, mounts map[string]vault.Mount) (*brokertest.Harness, *api.Client) {
	t.Helper()
	s := servers.Vault(t)
	root, err := api.NewClient(&api.Config{Address: s.Addr})
	must(t, err)
	root.SetToken(s.RootToken)
	h := brokertest.NewRunning(t, brokertest.Config{
		Guard: guard.Config{RatePerMinute: 600_000, Burst: 10_000},
		Minter: func(permits *mint.Verifier, clock *brokertest.Clock) mint.Minter {
			m, err := vault.New(t.Context(), vault.Config{
				Role: "vault", Address: s.Addr, Permits: permits, Now: clock.Now, Mounts: mounts,
				Auth: vault.Auth{Method: vault.MethodToken, Token: func(context.Context) (string, error) { return s.RootToken, nil }},
			})
			must(t, err)
			return m
		},
	})
	return h, root
}

func write(t *testing.T, c *api.Client, path string, data map[string]any) {
	t.Helper()
	_, err := c.Logical().WriteWithContext(t.Context(), path, data)
	must(t, err)
}

// TestVault reads a real Vault with a client that renews itself.
func TestVault(t *testing.T) {
	h, root := vaultWorld(t, nil)
	for _, team := range []string{"web", "ads"} {
		write(t, root, "secret/data/"+team+"/one", map[string]any{"data": map[string]any{"k": "v-" + team}})
	}
	// What the environment says of Vault is of another one.
	t.Setenv("VAULT_TOKEN", "hvs.elsewhere")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	clock := &clienttest.Clock{}
	src := open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("vault-kv-read", valetkey.Params{"team": {"web"}})
	v, err := vkvault.NewClient(t.Context(), src)
	must(t, err)
	read := func(path string) error {
		got, err := v.KVv2("secret").Get(t.Context(), path)
		if err == nil && got.Data["k"] != "v-web" {
			t.Errorf("read %v", got.Data)
		}
		return err
	}
	must(t, read("web/one"))
	if err := read("ads/one"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("another team's secret: %v", err)
	}
	first := src.Status().CredentialID
	clock.Add(16 * time.Minute)
	must(t, read("web/one"))
	if second := src.Status().CredentialID; second == first {
		t.Error("the first token was used when it was over")
	}
	// The clone and the calls of many share the source.
	clone, err := v.Clone()
	must(t, err)
	clone.SetToken(v.Token())
	clock.Add(16 * time.Minute)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := clone.KVv2("secret").Get(t.Context(), "web/one"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	minted := 0
	for _, r := range h.Records() {
		minted += strings.Count(r, `"issuance.issued"`)
	}
	if minted != 3 {
		t.Errorf("%d were minted", minted)
	}
	must(t, src.Release(t.Context()))
	if err := read("web/one"); err == nil {
		t.Error("a released source reads")
	}
	if _, err := vkvault.NewClient(t.Context(), open(t, dial(t, h)).Source("db-creds", valetkey.Params{"role": {"reader"}})); err == nil {
		t.Error("a client without a token")
	}
}

// TestDatabase logs in to a real PostgreSQL through a real Vault.
func TestDatabase(t *testing.T) {
	pg := servers.Postgres(t)
	h, root := vaultWorld(t, map[string]vault.Mount{"database/": {Revocable: true, Probe: []string{pg.Probe(t, t.TempDir())}}})
	write(t, root, "sys/mounts/database", map[string]any{"type": "database"})
	write(t, root, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "reader",
		"connection_url": "postgresql://{{username}}:{{password}}@" + pg.Addr + "/postgres?sslmode=disable",
		"username":       pg.User, "password": pg.Password,
	})
	write(t, root, "database/roles/reader", map[string]any{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
	})
	clock := &clienttest.Clock{}
	d := database.New(open(t, dial(t, h, valetkey.WithClock(clock.Now))).Source("db-creds", valetkey.Params{"role": {"reader"}}))
	login, err := d.Login(t.Context())
	must(t, err)
	if left := login.ExpiresAt.Sub(clock.Now()); left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("it lives %v", left)
	}
	text := fmt.Sprintf("%v %+v %#v %s %+v %#v", login, login, login, []any{login}, struct{ l database.Login }{login}, d)
	raw, err := json.Marshal(login)
	must(t, err)
	if login.Password() == "" || strings.Contains(text+string(raw), login.Password()) {
		t.Errorf("it prints as %s", login.Username)
	}
	dsn := func(l database.Login) string {
		return (&url.URL{Scheme: "postgres", Host: pg.Addr, User: url.UserPassword(l.Username, l.Password()), Path: "postgres", RawQuery: "sslmode=disable"}).String()
	}
	db := sql.OpenDB(d.Connector(stdlib.GetDefaultDriver(), dsn))
	t.Cleanup(func() { must(t, db.Close()) })
	who := func() (name string) {
		t.Helper()
		must(t, db.QueryRowContext(t.Context(), "SELECT current_user").Scan(&name))
		return name
	}
	if name := who(); name != login.Username {
		t.Errorf("logged in as %q, for %q", name, login.Username)
	}
	clock.Add(16 * time.Minute)
	db.SetMaxIdleConns(0) // so that the next is a new connection
	second := who()
	if second == login.Username {
		t.Error("a login that is over is used")
	}
	login, err = d.Login(t.Context())
	must(t, err)
	direct, err := sql.Open("pgx", dsn(login))
	must(t, err)
	t.Cleanup(func() { must(t, direct.Close()) })
	direct.SetMaxIdleConns(0)
	must(t, direct.PingContext(t.Context()))
	must(t, d.Release(t.Context()))
	brokertest.Eventually(t, "the account is gone", func() bool { return direct.PingContext(t.Context()) != nil })
	if _, err := d.Login(t.Context()); !errors.Is(err, valetkey.ErrClosed) {
		t.Errorf("a login of a released source: %v", err)
	}
}
