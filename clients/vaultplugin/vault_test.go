package vaultplugin_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestVault is all that a user does, on one real Vault.
func TestVault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.enable(t, "valetkey", nil)
	alice, bob := w.login(t, "alice"), w.login(t, "bob")
	for _, part := range []struct {
		name string
		run  func(t *testing.T, w *world, alice, bob *api.Client)
	}{
		{"help", testHelp},
		{"scopes", testScopes},
		{"an AWS credential", testAWS},
		{"a Vault credential", testVault},
		{"refusals", testRefusals},
		{"one spelling", testSpellings},
		{"no agent", testNoAgent},
		{"tasks", testTasks},
		{"renewal", testRenewal},
		{"two mounts", testTwoMounts},
		{"killed and reloaded", testKilled},
		{"upgraded", testUpgraded},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w, alice, bob) })
	}
	for _, r := range w.Records() {
		if strings.Contains(r, `"type":"issuance.issued"`) && !strings.Contains(r, `"delegate_spiffe_id":"`+delegateID) {
			t.Errorf("a record does not name the delegate: %s", r)
		}
	}
}

func testHelp(t *testing.T, w *world, _, _ *api.Client) {
	for path, want := range map[string]string{
		"valetkey": "creds", "valetkey/config": "delegate", "valetkey/scopes": "catalog", "valetkey/scopes/x": "permissions",
		"valetkey/creds/x": "lease", "valetkey/tasks": "purpose", "valetkey/requests/grant_" + strings.Repeat("a", 26): "approval",
	} {
		h, err := w.root.HelpWithContext(t.Context(), path)
		must(t, err)
		if !strings.Contains(h.Help, want) {
			t.Errorf("the help of %s says nothing of %q: %s", path, want, h.Help)
		}
	}
	c, err := w.root.Logical().ReadWithContext(t.Context(), "valetkey/config")
	must(t, err)
	if c.Data["ledger_key"] != w.Key.VerifierKey() || c.Data["environment"] != "staging" {
		t.Errorf("the config reads %v", c.Data)
	}
}

func testScopes(t *testing.T, w *world, alice, _ *api.Client) {
	list, err := alice.Logical().ListWithContext(t.Context(), "valetkey/scopes")
	must(t, err)
	if keys, _ := list.Data["keys"].([]any); len(keys) != 5 {
		t.Errorf("scopes: %v", list.Data["keys"])
	}
	about, err := read(t, alice, "valetkey/scopes/s3-prefix-read")
	must(t, err)
	if _, ok := about.Data["parameters"].(map[string]any)["bucket"]; !ok {
		t.Errorf("the scope: %v", about.Data)
	}
	before := len(w.Records())
	would, err := read(t, alice, "valetkey/scopes/s3-bucket-rebuild", "bucket=prod")
	must(t, err)
	if would.Data["allowed"] != false || would.Data["needs"].(map[string]any)["sre"] == nil || !strings.Contains(would.Data["permissions"].(string), "s3:DeleteBucket") {
		t.Errorf("it would give %v", would.Data)
	}
	if after := len(w.Records()); after != before {
		t.Error("explaining is on the record")
	}
}

func testAWS(t *testing.T, w *world, alice, _ *api.Client) {
	s := creds(t, alice)
	if s.LeaseID == "" || !s.Renewable || s.LeaseDuration < 14*60 || s.LeaseDuration > 15*60 || s.Data["agent"] != aliceID {
		t.Errorf("lease %q of %d s, renewable %v, for %v", s.LeaseID, s.LeaseDuration, s.Renewable, s.Data["agent"])
	}
	must(t, get(t.Context(), session(s), "reports/one"))
	if err := get(t.Context(), session(s), "other/one"); !forbidden(err) {
		t.Errorf("outside the prefix: %v", err)
	}
	other := creds(t, alice)
	w.revoke(t, s)
	eventually(t, endLimit, "MinIO refuses a session whose lease was revoked", func() bool {
		return forbidden(get(t.Context(), session(s), "reports/one"))
	})
	must(t, get(t.Context(), session(other), "reports/one"))
	w.revoke(t, other)
	// A write is a read, for parameters that are lists or named like fields.
	written := w.write(t, alice, "valetkey/creds/s3-prefix-read", map[string]any{
		"bucket": "prod", "prefix": "reports/", "purpose": "a test", "ttl": "20m",
	})
	if written.LeaseDuration < 19*60 {
		t.Errorf("a lease of %d s", written.LeaseDuration)
	}
	// The end of the Vault token is the end of what it got.
	again := w.login(t, "alice")
	gone := creds(t, again)
	must(t, again.Auth().Token().RevokeSelfWithContext(t.Context(), ""))
	eventually(t, endLimit, "MinIO refuses a session whose Vault token was revoked", func() bool {
		return forbidden(get(t.Context(), session(gone), "reports/one"))
	})
}

func testVault(t *testing.T, w *world, alice, _ *api.Client) {
	for _, team := range []string{"web", "ads"} {
		w.write(t, w.root, "secret/data/"+team+"/one", map[string]any{"data": map[string]any{"k": team}})
	}
	s, err := read(t, alice, "valetkey/creds/vault-kv-read", "team=web", "purpose=a test")
	must(t, err)
	narrow := w.client(t, s.Data["token"].(string))
	if _, err := narrow.KVv2("secret").Get(t.Context(), "web/one"); err != nil {
		t.Error(err)
	}
	_, err = narrow.KVv2("secret").Get(t.Context(), "ads/one")
	refused(t, err, 403)
	w.revoke(t, s)
	eventually(t, endLimit, "Vault refuses a token whose lease was revoked", func() bool {
		_, err := narrow.KVv2("secret").Get(t.Context(), "web/one")
		return err != nil && strings.Contains(err.Error(), "403")
	})
}

func testRefusals(t *testing.T, w *world, alice, bob *api.Client) {
	_, err := read(t, alice, "valetkey/creds/s3-bucket-rebuild", "bucket=prod", "purpose=a test")
	refused(t, err, 403, "NEEDS_APPROVAL", "2 of group sre", "vault read valetkey/requests/grant_")
	id := "grant_" + strings.SplitN(strings.SplitN(err.Error(), "requests/grant_", 2)[1], `"`, 2)[0]
	request, err := read(t, alice, "valetkey/requests/"+id)
	must(t, err)
	if request.Data["state"] != "denied" || request.Data["needs"].(map[string]any)["sre"] != json.Number("2") || request.Data["agent"] != aliceID {
		t.Errorf("the request is %v", request.Data)
	}
	_, err = read(t, bob, "valetkey/requests/"+id)
	refused(t, err, 400, "GRANT_NOT_FOUND")
	_, err = read(t, alice, "valetkey/creds/s3-prefix-read", "bucket=prod", "prefix=reports/*", "purpose=a test")
	refused(t, err, 400, "INVALID_PARAMETER")
	_, err = read(t, alice, "valetkey/creds/s3-prefix-read", "bucket=prod", "prefix=reports/\nx", "purpose=a test")
	refused(t, err, 400, "INVALID_PARAMETER")
	_, err = read(t, alice, "valetkey/creds/s3-prefix-read", "bucket=prod", "prefix=reports/", "purpose=a test", "ttl=9h")
	refused(t, err, 400, "TTL_TOO_LONG")
	_, err = read(t, alice, "valetkey/creds/s3-raed", "purpose=a test")
	refused(t, err, 400, "UNKNOWN_SCOPE")
	_, err = read(t, alice, "valetkey/creds/s3-prefix-read", "bucket=prod", "prefix=reports/")
	refused(t, err, 400, "purpose is required")
	_, err = read(t, alice, "valetkey/creds/s3-prefix-read", append(reports, "environment=production")...)
	refused(t, err, 400, `this mount's is "staging"`)
	_, err = read(t, w.root, "valetkey/creds/s3-prefix-read", reports...)
	refused(t, err, 403, "no identity entity")
	// Nobody can name an agent, whatever they send.
	_, err = read(t, bob, "valetkey/creds/s3-prefix-read", append(reports, "agent="+aliceID)...)
	refused(t, err, 400, "INVALID_PARAMETER")
	w.unmounted(t)
}

// unmounted is what mounts say that are not, or badly, configured.
func (w *world) unmounted(t *testing.T) {
	t.Helper()
	w.write(t, w.root, "sys/mounts/valetkey-bare", map[string]any{"type": pluginName})
	_, err := read(t, w.login(t, "alice"), "valetkey-bare/creds/s3-prefix-read", reports...)
	refused(t, err, 400, "not configured")
	for _, tc := range []struct {
		changes map[string]any
		says    string
	}{
		{map[string]any{"address": "broker"}, "host:port"},
		{map[string]any{"broker_id": "broker"}, "broker_id"},
		{map[string]any{"ledger_key": ""}, "ledger_key is required"},
		{map[string]any{"ledger_key": "nonsense"}, "ledger"},
		{map[string]any{"workload_api": ""}, "either workload_api or cert_file"},
		{map[string]any{"cert_file": "/x"}, "belong together"},
		{map[string]any{"workload_api": "unix:///nowhere.sock"}, "SVID"},
		{map[string]any{"environment": "Not One"}, "environment"},
	} {
		_, err := w.root.Logical().WriteWithContext(t.Context(), "valetkey-bare/config", w.config(tc.changes))
		refused(t, err, 400, tc.says)
	}
	// A template that makes agents which are not on the delegate's list.
	w.write(t, w.root, "valetkey-bare/config", w.config(map[string]any{
		"agent_template": "spiffe://example.org/agent/{{identity.entity.aliases." + w.accessor + ".name}}/other",
	}))
	_, err = read(t, w.login(t, "alice"), "valetkey-bare/creds/s3-prefix-read", reports...)
	refused(t, err, 403, "CALLER_NOT_ALLOWED", "list the agent's path under the delegate")
	must(t, w.root.Sys().UnmountWithContext(t.Context(), "valetkey-bare"))
}

func testTasks(t *testing.T, w *world, alice, bob *api.Client) {
	open := func() *api.Secret {
		t.Helper()
		return w.write(t, alice, "valetkey/tasks", map[string]any{"purpose": "weekly report"})
	}
	for name, end := range map[string]func(task *api.Secret){
		"delete": func(task *api.Secret) {
			_, err := alice.Logical().DeleteWithContext(t.Context(), "valetkey/tasks/"+task.Data["task"].(string))
			must(t, err)
		},
		"revoke": func(task *api.Secret) { w.revoke(t, task) },
	} {
		task := open()
		id, _ := task.Data["task"].(string)
		_, err := read(t, bob, "valetkey/creds/s3-prefix-read", append(reports, "task="+id)...)
		refused(t, err, 400, "TASK_NOT_FOUND")
		one, two := creds(t, alice, "task="+id), creds(t, alice, "task="+id)
		w.revoke(t, one)
		eventually(t, endLimit, "one of two ends", func() bool { return forbidden(get(t.Context(), session(one), "reports/one")) })
		must(t, get(t.Context(), session(two), "reports/one"))
		end(task)
		eventually(t, endLimit, name+" ends the other", func() bool { return forbidden(get(t.Context(), session(two), "reports/one")) })
		_, err = read(t, alice, "valetkey/creds/s3-prefix-read", append(reports, "task="+id)...)
		refused(t, err, 400, "TASK_CLOSED")
		w.revoke(t, two) // which is over already
	}
}

func testRenewal(t *testing.T, w *world, alice, _ *api.Client) {
	s := creds(t, alice, "lease=60s")
	if s.LeaseDuration != 60 {
		t.Errorf("a lease of %d s", s.LeaseDuration)
	}
	renew := func(increment int) (*api.Secret, error) {
		return alice.Sys().RenewWithContext(t.Context(), s.LeaseID, increment)
	}
	got, err := renew(300)
	must(t, err)
	if got.LeaseDuration != 300 {
		t.Errorf("renewed by %d s", got.LeaseDuration)
	}
	got, err = renew(7200)
	must(t, err)
	if got.LeaseDuration > 15*60 {
		t.Errorf("a lease of %d s is longer than its credential lives", got.LeaseDuration)
	}
	freeze := func(id string, frozen bool) {
		t.Helper()
		_, err := w.OperatorClient().SetFreeze(t.Context(), &valetkeyv1.SetFreezeRequest{AgentSpiffeId: id, Frozen: frozen, KeepLive: true, Cause: "test"})
		must(t, err)
	}
	for _, id := range []string{aliceID, delegateID} {
		freeze(id, true)
		_, err = renew(60)
		if err == nil || !strings.Contains(err.Error(), "FROZEN") {
			t.Errorf("a frozen %s renews: %v", id, err)
		}
		_, err = read(t, alice, "valetkey/creds/s3-prefix-read", reports...)
		refused(t, err, 403, "FROZEN")
		freeze(id, false)
	}
	must(t, get(t.Context(), session(s), "reports/one"))
	_, err = w.OperatorClient().RevokeGrant(t.Context(), &valetkeyv1.RevokeGrantRequest{GrantId: s.Data["grant"].(string), Cause: "test"})
	must(t, err)
	_, err = renew(60)
	if err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a revoked grant renews: %v", err)
	}
	w.revoke(t, s)
	// A lease that nobody renews ends what it is of.
	short := creds(t, alice, "lease=2s")
	eventually(t, endLimit, "a lease of two seconds ends its session", func() bool {
		return forbidden(get(t.Context(), session(short), "reports/one"))
	})
}

// pids are the plugin's processes under this test's Vault.
func (w *world) pids(t *testing.T) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && strings.HasPrefix(exe, w.plugins) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func testTwoMounts(t *testing.T, w *world, alice, _ *api.Client) {
	w.enable(t, "valetkey-two", map[string]any{"environment": ""})
	if pids := w.pids(t); len(pids) != 1 {
		t.Errorf("%d processes serve two mounts", len(pids))
	}
	_, err := read(t, alice, "valetkey-two/creds/s3-prefix-read", reports...)
	refused(t, err, 400, "environment is required")
	s, err := read(t, alice, "valetkey-two/creds/s3-prefix-read", append(reports, "environment=staging")...)
	must(t, err)
	// The mount's limit is the lease's.
	w.write(t, w.root, "sys/mounts/valetkey-two/tune", map[string]any{"max_lease_ttl": "2s"})
	short, err := read(t, alice, "valetkey-two/creds/s3-prefix-read", append(reports, "environment=staging")...)
	must(t, err)
	if short.LeaseDuration > 2 {
		t.Errorf("a lease of %d s", short.LeaseDuration)
	}
	eventually(t, endLimit, "the mount's limit ends a session", func() bool { return forbidden(get(t.Context(), session(short), "reports/one")) })
	// Disabling a mount ends its leases.
	must(t, w.root.Sys().UnmountWithContext(t.Context(), "valetkey-two"))
	eventually(t, endLimit, "what a disabled mount gave is over", func() bool { return forbidden(get(t.Context(), session(s), "reports/one")) })
	must(t, get(t.Context(), session(creds(t, alice)), "reports/one"))
}

func testKilled(t *testing.T, w *world, alice, _ *api.Client) {
	before := creds(t, alice)
	pids := w.pids(t)
	if len(pids) != 1 {
		t.Fatalf("%d processes", len(pids))
	}
	kill(t, pids[0])
	eventually(t, 2*time.Minute, "Vault starts the plugin again", func() bool {
		s, err := read(t, alice, "valetkey/creds/s3-prefix-read", reports...)
		return err == nil && get(t.Context(), session(s), "reports/one") == nil
	})
	if after := w.pids(t); len(after) != 1 || after[0] == pids[0] {
		t.Errorf("processes %v after %v", after, pids)
	}
	w.write(t, w.root, "sys/plugins/reload/backend", map[string]any{"plugin": pluginName})
	must(t, get(t.Context(), session(creds(t, alice)), "reports/one"))
	w.revoke(t, before)
	eventually(t, endLimit, "a lease of the killed process ends", func() bool { return forbidden(get(t.Context(), session(before), "reports/one")) })
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	must(t, err)
	must(t, p.Kill())
}

func testUpgraded(t *testing.T, w *world, alice, _ *api.Client) {
	before := creds(t, alice)
	built, err := binaries()
	must(t, err)
	name := pluginName + "-v0.2.0"
	install(t, filepath.Join(built, "v0.2.0", pluginName), filepath.Join(w.plugins, name))
	w.register(t, "v0.2.0", name)
	w.write(t, w.root, "sys/mounts/valetkey/tune", map[string]any{"plugin_version": "v0.2.0"})
	w.write(t, w.root, "sys/plugins/reload/backend", map[string]any{"plugin": pluginName})
	mounts, err := w.root.Sys().ListMountsWithContext(t.Context())
	must(t, err)
	if m := mounts["valetkey/"]; m.RunningVersion != "v0.2.0" {
		t.Errorf("the mount runs %s", m.RunningVersion)
	}
	must(t, get(t.Context(), session(creds(t, alice)), "reports/one"))
	w.revoke(t, before)
	eventually(t, endLimit, "a lease of the old version ends", func() bool { return forbidden(get(t.Context(), session(before), "reports/one")) })
}

// revoke is "vault lease revoke -sync".
func (w *world) revoke(t *testing.T, s *api.Secret) {
	t.Helper()
	w.write(t, w.root, "sys/leases/revoke", map[string]any{"lease_id": s.LeaseID, "sync": true})
}
