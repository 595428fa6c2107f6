package vaultplugin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// TestCluster is on two Vaults that share their state: the one that stands by sends
// on what it is asked, and takes over leases with the rest.
func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := servers.VaultRaft(t, w.plugins, "")
	w.vault = first
	keys, err := w.client(t, "").Sys().InitWithContext(t.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	must(t, err)
	unseal := func(s servers.VaultServer) {
		t.Helper()
		w.vault = s
		sys := w.client(t, "").Sys()
		eventually(t, 60*time.Second, "Vault is unsealed", func() bool {
			_, _ = sys.UnsealWithContext(t.Context(), keys.Keys[0]) // it may not have joined yet
			h, err := sys.HealthWithContext(t.Context())
			return err == nil && h.Initialized && !h.Sealed
		})
	}
	active := func(s servers.VaultServer) {
		t.Helper()
		w.vault = s
		sys := w.client(t, keys.RootToken).Sys()
		eventually(t, 60*time.Second, "Vault is the active one", func() bool {
			l, err := sys.LeaderWithContext(t.Context())
			return err == nil && l.IsSelf
		})
	}
	unseal(first)
	active(first)
	second := servers.VaultRaft(t, w.plugins, first.Addr)
	unseal(second)
	w.vault = first
	w.root = w.client(t, keys.RootToken)
	w.register(t, "v0.1.0", pluginName)
	w.users(t)
	w.enable(t, "valetkey", nil)
	// A new server has to be healthy for 10 s by default before it has a vote.
	w.write(t, w.root, "sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"})

	w.vault = second
	var alice *api.Client
	eventually(t, 60*time.Second, "the second follows the first", func() bool {
		l, err := w.client(t, keys.RootToken).Sys().LeaderWithContext(t.Context())
		return err == nil && !l.IsSelf && l.LeaderAddress == first.Addr
	})
	alice = w.login(t, "alice")
	before := creds(t, alice)
	must(t, get(t.Context(), session(before), "reports/one"))

	eventually(t, 60*time.Second, "the second has a vote", func() bool {
		c, err := w.root.Logical().ReadWithContext(t.Context(), "sys/storage/raft/configuration")
		if err != nil {
			return false
		}
		raw, err := json.Marshal(c.Data)
		return err == nil && strings.Count(string(raw), `"voter":true`) == 2
	})
	must(t, w.root.Sys().StepDownWithContext(t.Context()))
	active(second)
	w.root = w.client(t, keys.RootToken)
	alice = w.client(t, alice.Token())
	after := creds(t, alice)
	for _, s := range []*api.Secret{before, after} {
		must(t, get(t.Context(), session(s), "reports/one"))
		w.revoke(t, s)
		eventually(t, endLimit, "what each gave is ended by the one that took over", func() bool {
			return forbidden(get(t.Context(), session(s), "reports/one"))
		})
	}
}
