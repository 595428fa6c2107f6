// Command vault-plugin-secrets-valetkey is a Vault secrets engine. Vault starts it;
// see docs/clients-vault.md.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/valetkey/valetkey/clients/vaultplugin"
)

// version is set by the linker; Vault shows it, and holds it against the one that
// the plugin was registered with.
var version = "v0.1.0"

func main() {
	meta := &api.PluginAPIClientMeta{}
	err := meta.FlagSet().Parse(os.Args[1:])
	if err == nil {
		err = plugin.ServeMultiplex(&plugin.ServeOpts{
			BackendFactoryFunc: vaultplugin.Factory(version),
			TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vault-plugin-secrets-valetkey:", err)
		os.Exit(1)
	}
}
