package e2e_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// vaultScopes are beside those of the example, by name; each has the role of one login.
var vaultScopes = map[string]string{
	"db-wrapped":     "role: vault\nparams: {role: {type: identifier}}\nread: database/creds/{role}\nwrap: true\n",
	"kv-by-cert":     "role: vault-cert\nparams: {team: {type: identifier}}\npaths: [{path: \"secret/data/{team}/*\", capabilities: [read]}]\n",
	"kv-by-stranger": "role: vault-stranger\nparams: {team: {type: identifier}}\npaths: [{path: \"secret/data/{team}/*\", capabilities: [read]}]\n",
}

// vaultWorld is a world whose Vault has TLS, logs the broker in by its SVIDs alone,
// and makes accounts in a real PostgreSQL.
type vaultWorld struct {
	*world
	pg servers.PostgresServer
}

func newVaultWorld(t *testing.T) *vaultWorld {
	t.Helper()
	w := &vaultWorld{world: newWorldWithoutVault(t), pg: servers.Postgres(t)}
	// Vault names who logs in by certificate by its common name, and answers 500
	// where there is none. SPIRE takes the first DNS name for it.
	w.admit(t, "-dns", "valetkeyd")
	w.vault = servers.VaultTLS(t)
	w.root = vaultClient(t, w.vault)
	w.trustSVIDs(t)
	bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), []byte(w.spire.Bundle()))
	must(t, err)
	var authorities strings.Builder
	for _, ca := range bundle.X509Authorities() {
		must(t, pem.Encode(&authorities, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	}
	certRole := func(id string) map[string]any {
		return map[string]any{
			"certificate": authorities.String(), "allowed_uri_sans": id, "token_policies": "broker", "token_no_default_policy": true,
		}
	}
	for _, s := range []struct {
		path string
		data map[string]any
	}{
		{"sys/policies/acl/broker", map[string]any{"policy": brokerPolicy}},
		{"secret/data/web/db", map[string]any{"data": map[string]any{"password": "web"}}},
		{"secret/data/ads/db", map[string]any{"data": map[string]any{"password": "ads"}}},
		{"sys/auth/cert", map[string]any{"type": "cert"}},
		{"auth/cert/certs/broker", certRole(brokerID)},
		{"auth/cert/certs/stranger", certRole("spiffe://example.org/stranger")},
		{"sys/mounts/database", map[string]any{"type": "database"}},
		{"database/config/pg", map[string]any{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": "reader",
			"connection_url": "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/postgres?sslmode=disable",
			"username":       w.pg.User, "password": w.pg.Password,
		}},
		{"database/roles/reader", map[string]any{
			"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
			"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
		}},
	} {
		w.set(t, s.path, s.data)
	}
	policies := ""
	for name, text := range vaultScopes {
		w.write(t, "catalog/"+name+".yaml", "name: "+name+"\ndescription: Of the test.\nprovider: vault\nttl: {default: 15m, max: 1h}\n"+text)
		policies += "@id(\"test." + name + "\")\n@reason(\"the test\")\npermit (principal, action == Valetkey::Action::\"" + name + "\", resource);\n"
	}
	w.write(t, "catalog/policies/test.cedar", policies)
	role := func(name string) string {
		return "  vault-" + name + ":\n    provider: vault\n    ceiling: catalog/ceilings/vault-role.hcl\n    address: " + w.vault.Addr + "\n    ca_file: " + w.vault.CAFile + "\n    auth: {method: cert, role: " + name + "}\n"
	}
	w.mounts = "    mounts: {database/: {revocable: true, probe_command: [" + w.pg.Probe(t, t.TempDir()) + "]}}\n"
	w.serve(t, "{method: jwt, role: valetkeyd, audience: vault}", "", strings.Replace(role("broker"), "vault-broker", "vault-cert", 1)+role("stranger"))
	return w
}

// account is what the database engine makes.
type account struct{ Username, Password string }

// login logs in to PostgreSQL.
func (w *vaultWorld) login(t *testing.T, a account) error {
	t.Helper()
	out, err := w.pg.Query(t.Context(), a.Username, a.Password, "select current_user")
	if err == nil && strings.TrimSpace(out) != a.Username {
		t.Errorf("PostgreSQL says that %s is %s", a.Username, out)
	}
	return err
}

// unwrap is what an agent does with a wrapping token.
func (w *vaultWorld) unwrap(t *testing.T, token string) (account, error) {
	t.Helper()
	s, err := w.vaultClient(t, token).Logical().UnwrapWithContext(t.Context(), "")
	if err != nil {
		return account{}, err
	}
	user, ok1 := s.Data["username"].(string)
	password, ok2 := s.Data["password"].(string)
	if !ok1 || !ok2 {
		return account{}, errors.New("it holds no account")
	}
	return account{user, password}, nil
}

// accounts is how many the engine has made and not taken back.
func (w *vaultWorld) accounts(t *testing.T) string {
	t.Helper()
	out, err := w.pg.Query(t.Context(), w.pg.User, w.pg.Password, "select count(*) from pg_roles where rolname like 'v-%'")
	must(t, err)
	return strings.TrimSpace(out)
}

// nothingLeft wants neither accounts, leases nor policies of grants.
func (w *vaultWorld) nothingLeft(t *testing.T) {
	t.Helper()
	if n := w.accounts(t); n != "0" {
		t.Errorf("PostgreSQL has %s accounts left", n)
	}
	// Vault takes the account back first, and forgets the lease then.
	eventually(t, revocationLimit, "Vault has no lease left", func() bool {
		s, err := w.root.Logical().ListWithContext(t.Context(), "sys/leases/lookup/database/creds/reader")
		must(t, err)
		return s == nil
	})
	s, err := w.root.Logical().ListWithContext(t.Context(), "sys/policies/acl")
	must(t, err)
	names, _ := s.Data["keys"].([]any)
	if len(names) == 0 {
		t.Error("Vault lists no policy, not even the broker's")
	}
	for _, name := range names {
		if text, _ := name.(string); strings.HasPrefix(text, "vk-") {
			t.Errorf("Vault has policy %s left", text)
		}
	}
}

// nowhere wants a secret in no file of the broker's and not in its log.
func (w *vaultWorld) nowhere(t *testing.T, secret string) {
	t.Helper()
	if strings.Contains(w.broker.errors(), secret) {
		t.Error("the secret is in the broker's log")
	}
	must(t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), secret) {
			t.Errorf("the secret is in %s", path)
		}
		return err
	}))
}

// findsOpenSecret shows that a secret which passed through the broker would be found.
// Some tries, since what is not used any more may be overwritten.
func (w *vaultWorld) findsOpenSecret(t *testing.T, task string, pid int) bool {
	t.Helper()
	for range 5 {
		var open account
		must(t, json.Unmarshal([]byte(w.request(t, task, "db-creds", "role=reader").GetCredential().GetVault().GetDataJson()), &open))
		if inMemory(t, pid, open.Password) {
			return true
		}
	}
	return false
}

// TestVaultThroughTheDaemon has the daemon log in to a real Vault by certificate and by
// JWT, and give out dynamic secrets, open and wrapped, that a real PostgreSQL takes.
func TestVaultThroughTheDaemon(t *testing.T) {
	w := newVaultWorld(t)
	task := w.ok(t, "alice", "task", "open", "-e", "production", "count the rows")
	release := func(t *testing.T, resp *valetkeyv1.RequestGrantResponse) {
		t.Helper()
		w.ok(t, "alice", "release", resp.GetGrant().GetId())
	}

	t.Run("login by certificate", func(t *testing.T) { w.vaultEnforces(t, w.request(t, task, "kv-by-cert", "team=web")) })
	t.Run("a certificate of another ID", func(t *testing.T) {
		out, code := w.call(t, "alice", "request", "kv-by-stranger", "team=web", "--task", task, "--mint")
		if code != 1 || !strings.Contains(out.stderr, "UPSTREAM_REFUSED") || out.stdout != "" {
			t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
		}
		_, log := readLog(t, w.site, w.broker.log)
		if last := log[len(log)-1]; last.Type != "issuance.failed" || last.Reason != "UPSTREAM_REFUSED" {
			t.Errorf("the newest record is %+v", last)
		}
	})
	t.Run("a dynamic secret", func(t *testing.T) {
		var open account
		resp := w.request(t, task, "db-creds", "role=reader")
		v := resp.GetCredential().GetVault()
		must(t, json.Unmarshal([]byte(v.GetDataJson()), &open))
		must(t, w.login(t, open))
		if w.login(t, account{open.Username, open.Password + "x"}) == nil {
			t.Error("PostgreSQL takes another password")
		}
		if v.GetToken() != "" || v.GetWrappingToken() != "" || v.GetLeaseId() == "" {
			t.Error("more came than the account and its lease")
		}
		w.nowhere(t, open.Password)
		release(t, resp)
		eventually(t, revocationLimit, "PostgreSQL refuses the released account", func() bool { return w.login(t, open) != nil })
	})
	t.Run("a dynamic secret whose time is over", func(t *testing.T) {
		resp := w.request(t, task, "db-creds", "role=reader", "--ttl", "2s")
		if left := time.Until(resp.GetCredential().GetExpiresAt().AsTime()); left > 2*time.Second {
			t.Errorf("it lives %v", left)
		}
		eventually(t, revocationLimit, "the account is gone though the engine gives an hour", func() bool { return w.accounts(t) == "0" })
	})
	t.Run("a wrapped secret", func(t *testing.T) {
		resp := w.request(t, task, "db-wrapped", "role=reader")
		v := resp.GetCredential().GetVault()
		if v.GetWrappingToken() == "" || v.GetToken() != "" || v.GetDataJson() != "" {
			t.Fatal("it is not wrapped")
		}
		a, err := w.unwrap(t, v.GetWrappingToken())
		must(t, err)
		must(t, w.login(t, a))
		if _, err := w.unwrap(t, v.GetWrappingToken()); err == nil {
			t.Error("it was unwrapped twice")
		}
		pid := w.broker.cmd.Process.Pid
		if !w.findsOpenSecret(t, task, pid) {
			t.Error("not even an open secret is found in the broker's memory: the search proves nothing")
		}
		if inMemory(t, pid, a.Password) {
			t.Error("the broker's process has held the wrapped secret")
		}
		w.nowhere(t, a.Password)
		release(t, resp)
		eventually(t, revocationLimit, "PostgreSQL refuses the released account", func() bool { return w.login(t, a) != nil })
	})
	t.Run("a wrapped secret that nobody unwrapped", func(t *testing.T) {
		before := w.accounts(t)
		resp := w.request(t, task, "db-wrapped", "role=reader")
		if n := w.accounts(t); n == before {
			t.Errorf("PostgreSQL has %s accounts, want one more", n)
		}
		release(t, resp)
		eventually(t, revocationLimit, "the account is gone", func() bool { return w.accounts(t) == before })
		if _, err := w.unwrap(t, resp.GetCredential().GetVault().GetWrappingToken()); err == nil {
			t.Error("the wrapping opens after the release")
		}
	})
	w.ok(t, "alice", "task", "close", task)
	eventually(t, revocationLimit, "every issuance that was given has ended upstream", func() bool {
		_, log := readLog(t, w.site, w.broker.log)
		issued := count(log, func(e entry) bool { return e.Type == "issuance.issued" })
		return issued >= 5 && count(log, func(e entry) bool { return e.Type == "revocation.concluded" && e.Outcome == "revoked_upstream" }) == issued
	})
	w.nothingLeft(t)
	verify(t, w.site, w.broker.log)
}
