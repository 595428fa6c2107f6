package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

const pluginName = "vault-plugin-secrets-valetkey"

// inVault is row (v): a credential through the plugin in a Vault beside one of
// that Vault's own AWS engine, from the same MinIO with the same document. The
// plugin has all that the broker adds: policy, a durable record, a checked receipt.
func (t *bench) inVault(auth *devauthority.Authority, cat *scopes.Catalog) {
	minio := servers.MinIO(t)
	h, err := shim(minio.Endpoint)
	t.must(err)
	real := serveUpstream(t, upstream{
		name: "MinIO", key: minio.AccessKey, secret: minio.SecretKey, dialect: string(iam.DialectMinIO), policy: t.document(cat, iam.DialectMinIO),
	}, h)
	d := startDaemon(t, auth, real, history{})
	dir, err := filepath.EvalSymlinks(t.TempDir())
	t.must(err)
	binary, err := os.ReadFile(t.plugin)
	t.must(err)
	t.must(os.WriteFile(filepath.Join(dir, pluginName), binary, 0o700))
	v := servers.Vault(t, "-dev-plugin-dir="+dir)
	call := t.pluginCalls(auth, d, v)
	var task struct {
		Data struct {
			Task string `json:"task"`
		} `json:"data"`
	}
	t.must(call(t.ctx, http.MethodPost, "valetkey/tasks", map[string]any{"purpose": "measure"}, &task))
	t.compare("v", []int{1, 16, 64},
		way{"**RequestGrant, mint, MinIO**", grantCaller(t, auth, d)},
		way{"Vault aws/sts, MinIO", t.vaultCaller(v, real, "minio")},
		way{"**Vault valetkey/creds, in a task, MinIO**", credsCaller(call, map[string]any{"task": task.Data.Task})},
		way{"**Vault valetkey/creds, a task each, MinIO**", credsCaller(call, map[string]any{"purpose": "measure"})},
	)
}

// pluginCalls mounts and configures the plugin, and calls as a user.
func (t *bench) pluginCalls(auth *devauthority.Authority, d daemon, v servers.VaultServer) func(ctx context.Context, method, path string, in, out any) error {
	sock := filepath.Join(t.TempDir(), "plugin.sock")
	t.must(auth.Serve(t.ctx, sock, spiffeid.RequireFromString("spiffe://example.org/vault/plugin")))
	key, err := ledger.LoadKey(filepath.Join(d.dir, "ledger.key"))
	t.must(err)
	self, err := auth.ID("valetkeyd")
	t.must(err)
	root := t.vaultCalls(v, v.RootToken)
	for _, w := range []struct {
		path string
		in   map[string]any
	}{
		{"sys/auth/userpass", map[string]any{"type": "userpass"}},
		{"sys/policies/acl/user", map[string]any{"policy": `path "valetkey/*" { capabilities = ["read", "update"] }`}},
		{"auth/userpass/users/bench", map[string]any{"password": "bench", "token_policies": "user"}},
		{"sys/mounts/valetkey", map[string]any{"type": pluginName}},
		{"valetkey/config", map[string]any{
			"address": d.addr, "broker_id": self.String(), "workload_api": "unix://" + sock, "ledger_key": key.VerifierKey(),
			"agent_template": "spiffe://example.org/agent/{{identity.entity.metadata.agent}}/vault", "environment": "staging",
		}},
	} {
		t.must(root(t.ctx, http.MethodPost, w.path, w.in, nil))
	}
	var login struct {
		Auth struct {
			ClientToken string `json:"client_token"`
			EntityID    string `json:"entity_id"`
		} `json:"auth"`
	}
	t.must(root(t.ctx, http.MethodPost, "auth/userpass/login/bench", map[string]any{"password": "bench"}, &login))
	t.must(root(t.ctx, http.MethodPost, "identity/entity/id/"+login.Auth.EntityID, map[string]any{"metadata": map[string]any{"agent": "bench"}}, nil))
	return t.vaultCalls(v, login.Auth.ClientToken)
}

func credsCaller(call func(ctx context.Context, method, path string, in, out any) error, more map[string]any) func(int) (op, error) {
	in := map[string]any{"bucket": "bench", "prefix": "reports/"}
	for k, v := range more {
		in[k] = v
	}
	return func(int) (op, error) {
		return func(ctx context.Context) error {
			var out struct {
				Data struct {
					AccessKey string `json:"access_key"`
				} `json:"data"`
			}
			err := call(ctx, http.MethodPost, "valetkey/creds/"+scopeName, in, &out)
			if err == nil && out.Data.AccessKey == "" {
				err = errors.New("the plugin gave no credentials")
			}
			if err != nil {
				return fmt.Errorf("asking the plugin: %w", err)
			}
			return nil
		}, nil
	}
}
