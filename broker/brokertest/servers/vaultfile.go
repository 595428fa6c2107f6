package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// VaultFile starts a Vault that is not in dev mode: file storage, and neither
// initialised nor unsealed, which is the caller's to do. plugins is the folder that
// its plugins are in; empty for none. The root token is the caller's to make, too.
func VaultFile(t TB, plugins string) VaultServer {
	t.Helper()
	dir := t.TempDir()
	var s VaultServer
	config := filepath.Join(dir, "vault.hcl")
	ports := launch(t, "vault", dir, 2, func(ports []int) launchPlan {
		text := fmt.Sprintf("storage \"file\" { path = %q }\nlistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\n"+
			"api_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\nplugin_directory = %q\ndisable_mlock = true\n",
			filepath.Join(dir, "data"), loopback(ports[0]), loopback(ports[0]), loopback(ports[1]), plugins)
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
	s.Addr = "http://" + loopback(ports[0])
	return s
}
