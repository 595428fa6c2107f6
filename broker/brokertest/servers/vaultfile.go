package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// VaultFile starts a Vault that is not in dev mode: file storage, and neither
// initialised nor unsealed, which is the caller's to do, as the root token is.
// plugins is the folder that its plugins are in.
func VaultFile(t TB, plugins string) VaultServer {
	t.Helper()
	return configuredVault(t, plugins, func(dir string, _ []int) string {
		return fmt.Sprintf("storage \"file\" { path = %q }\n", filepath.Join(dir, "data"))
	})
}

// VaultRaft is VaultFile with Raft storage, so that several make a cluster: join is
// the address of the one that the others join, and empty for that one itself.
func VaultRaft(t TB, plugins, join string) VaultServer {
	t.Helper()
	return configuredVault(t, plugins, func(dir string, ports []int) string {
		data := filepath.Join(dir, "data")
		retry := ""
		if join != "" {
			retry = fmt.Sprintf("  retry_join { leader_api_addr = %q }\n", join)
		}
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatalf("making Vault's folder: %v", err)
		}
		// Autopilot looks every 10 s by default, and only then gives a new server its vote.
		return fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = \"n%d\"\n%s"+
			"  autopilot_reconcile_interval = \"1s\"\n  autopilot_update_interval = \"1s\"\n}\n", data, ports[0], retry)
	})
}

func configuredVault(t TB, plugins string, storage func(dir string, ports []int) string) VaultServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "vault.hcl")
	ports := launch(t, "vault", dir, 2, func(ports []int) launchPlan {
		text := fmt.Sprintf("%slistener \"tcp\" {\n  address = %q\n  cluster_address = %q\n  tls_disable = true\n}\n"+
			"api_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\nplugin_directory = %q\ndisable_mlock = true\n",
			storage(dir, ports), loopback(ports[0]), loopback(ports[1]), loopback(ports[0]), loopback(ports[1]), plugins)
		// A launch that fails is tried again on other ports, and says so itself.
		written := os.WriteFile(config, []byte(text), 0o600)
		return launchPlan{
			args: []string{"server", "-config=" + config},
			ready: func(ctx context.Context) error {
				if written != nil {
					return written
				}
				// By these it answers 200 in the state it is born in.
				return httpReady(ctx, http.DefaultClient, "http://"+loopback(ports[0])+"/v1/sys/health?uninitcode=200&sealedcode=200")
			},
		}
	})
	return VaultServer{Addr: "http://" + loopback(ports[0])}
}
