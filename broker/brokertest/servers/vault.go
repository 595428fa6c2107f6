package servers

import "context"

// VaultServer is a running Vault in dev mode: memory storage, unsealed, plain
// HTTP.
type VaultServer struct {
	Addr      string // http://127.0.0.1:port
	RootToken string
}

// Vault starts a Vault that lives until t's clean-up. args adds flags such as
// "-dev-plugin-dir=...".
func Vault(t TB, args ...string) VaultServer {
	t.Helper()
	s := VaultServer{RootToken: randomSecret(t)}
	ports := launch(t, "vault", t.TempDir(), 1, func(ports []int) launchPlan {
		return launchPlan{
			// By environment, so that the token is not in the process list.
			env: []string{"VAULT_DEV_ROOT_TOKEN_ID=" + s.RootToken, "VAULT_DISABLE_MLOCK=true"},
			args: append([]string{
				"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + loopback(ports[0]),
			}, args...),
			ready: func(ctx context.Context) error {
				return httpReady(ctx, "http://"+loopback(ports[0])+"/v1/sys/health")
			},
		}
	})
	s.Addr = "http://" + loopback(ports[0])
	return s
}
