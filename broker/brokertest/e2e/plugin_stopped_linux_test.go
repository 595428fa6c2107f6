package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// pluginLimit is what every path of the plugin answers within: its own 30 s, and the
// way there.
const pluginLimit = 33 * time.Second

// TestPluginAnswersWhileTheBrokerIsStopped stops the broker's process as SIGSTOP does: it
// takes connections and answers nothing.
func TestPluginAnswersWhileTheBrokerIsStopped(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Link(program(t, pluginName), filepath.Join(dir, pluginName)))
	l := newLocal(t)
	raw, err := os.ReadFile(l.path("valetkeyd.yaml"))
	must(t, err)
	l.write(t, "valetkeyd.yaml", string(raw)+documentedDelegates(t))
	d := l.start(t)
	v := servers.Vault(t, "-dev-plugin-dir="+dir)
	client := func(token string) *api.Client {
		c, err := api.NewClient(&api.Config{Address: v.Addr, MaxRetries: 0, Timeout: 90 * time.Second})
		must(t, err)
		c.SetToken(token)
		return c
	}
	root := client(v.RootToken)
	set := func(path string, data map[string]any) *api.Secret {
		t.Helper()
		s, err := root.Logical().WriteWithContext(t.Context(), path, data)
		must(t, err)
		return s
	}
	set("sys/mounts/valetkey", map[string]any{"type": pluginName})
	set("sys/auth/userpass", map[string]any{"type": "userpass"})
	set("sys/policies/acl/user", map[string]any{"policy": `path "valetkey*" { capabilities = ["create", "read", "update", "delete", "list"] }`})
	set("auth/userpass/users/alice", map[string]any{"password": "p", "token_policies": "user"})
	login, err := client("").Logical().WriteWithContext(t.Context(), "auth/userpass/login/alice", map[string]any{"password": "p"})
	must(t, err)
	alice := client(login.Auth.ClientToken)
	set("valetkey/config", map[string]any{
		"address": d.grpc, "broker_id": brokerID, "workload_api": l.socket("plugin"), "ledger_key": l.vkey, "environment": "staging",
		"agent_template": "spiffe://example.org/agent/{{identity.entity.name}}/vault",
	})
	write := func(path string, data map[string]any) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := alice.Logical().WriteWithContext(ctx, path, data)
			return err
		}
	}
	ask := map[string]any{"bucket": "prod", "prefix": "reports/", "purpose": "a test"}
	task, err := alice.Logical().WriteWithContext(t.Context(), "valetkey/tasks", map[string]any{"purpose": "a test"})
	must(t, err)
	lease, err := alice.Logical().WriteWithContext(t.Context(), "valetkey/creds/s3-prefix-read", ask)
	must(t, err)

	must(t, d.cmd.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = d.cmd.Process.Signal(syscall.SIGCONT) }) // to be ended
	var all sync.WaitGroup
	for name, call := range map[string]func(context.Context) error{
		"creds":         write("valetkey/creds/s3-prefix-read", ask),
		"creds in task": write("valetkey/creds/s3-prefix-read", map[string]any{"bucket": "prod", "prefix": "other/", "task": task.Data["task"]}),
		"tasks":         write("valetkey/tasks", map[string]any{"purpose": "a test"}),
		"scopes": func(ctx context.Context) error {
			_, err := alice.Logical().ListWithContext(ctx, "valetkey/scopes")
			return err
		},
		"a scope": func(ctx context.Context) error {
			_, err := alice.Logical().ReadWithDataWithContext(ctx, "valetkey/scopes/s3-prefix-read", map[string][]string{"bucket": {"prod"}, "prefix": {"reports/"}})
			return err
		},
		"a request": func(ctx context.Context) error {
			_, err := alice.Logical().ReadWithContext(ctx, "valetkey/requests/grant_"+strings.Repeat("a", 26))
			return err
		},
		"a task's end": func(ctx context.Context) error {
			_, err := alice.Logical().DeleteWithContext(ctx, "valetkey/tasks/"+task.Data["task"].(string))
			return err
		},
		"renewal": func(ctx context.Context) error {
			_, err := root.Sys().RenewWithContext(ctx, lease.LeaseID, 0)
			return err
		},
	} {
		all.Go(func() {
			began := time.Now()
			err := call(t.Context())
			if took := time.Since(began); took > pluginLimit {
				t.Errorf("%s: answered after %v", name, took)
			}
			var answer *api.ResponseError
			if !errors.As(err, &answer) || answer.StatusCode != 502 && answer.StatusCode != 504 && (name != "renewal" || answer.StatusCode != 400) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
}
