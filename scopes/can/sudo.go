package can

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// protected are the paths for which Vault 1.21 wants sudo on top, whatever is mounted: PathsSpecial.Root of its system
// backend (vault/logical_system.go) and its token store (vault/token_store.go). One that ends in * is a prefix.
var protected = []string{ // read-only
	"sys/auth/*", "sys/remount", "sys/audit", "sys/audit/*", "sys/raw", "sys/raw/*", "sys/rotate", "sys/seal", "sys/step-down",
	"sys/replication/primary/secondary-token", "sys/replication/performance/primary/secondary-token",
	"sys/replication/dr/primary/secondary-token", "sys/replication/reindex", "sys/replication/dr/reindex",
	"sys/replication/performance/reindex", "sys/config/cors", "sys/config/auditing/*", "sys/config/ui/headers/*",
	"sys/plugins/catalog/*", "sys/plugins/runtimes/catalog/*", "sys/revoke-prefix/*", "sys/revoke-force/*",
	"sys/leases", "sys/leases/revoke-prefix/*", "sys/leases/revoke-force/*", "sys/leases/lookup/*",
	"sys/storage/raft/snapshot-auto/config/*", "sys/internal/inspect/*", "sys/internal/counters/activity/export",
	"auth/token/revoke-orphan", "auth/token/accessors/",
}

// needsSudo says whether Vault wants sudo for every request on the path.
func needsSudo(path string) bool {
	for _, p := range protected {
		if prefix, open := strings.CutSuffix(p, "*"); path == p || open && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// mayNeedSudo says whether Vault wants sudo where it is what it may be: the two root paths of a PKI (builtin/logical/pki/backend.go),
// wherever one is mounted, of which one is only deleted and the other only written, what a token may be created with by the privileged alone
// (vault/token_store.go), and all of that below a namespace.
func mayNeedSudo(op vaultacl.Operation, path string, data map[string]any) bool {
	for i := range path { // Enterprise: below a namespace
		if path[i] == '/' && (needsSudo(path[i+1:]) || strings.HasPrefix(path[i+1:], "auth/token/create")) {
			return true
		}
	}
	if strings.HasPrefix(path, "auth/token/create") {
		return slices.ContainsFunc([]string{"id", "no_parent", "period", "policies"}, func(k string) bool { return data[k] != nil })
	}
	if op == vaultacl.OpDelete {
		return strings.HasSuffix(path, "/root")
	}
	return strings.HasSuffix(path, "/root/sign-self-issued")
}
