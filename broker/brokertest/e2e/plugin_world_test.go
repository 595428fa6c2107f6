package e2e_test

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	pluginName = "vault-plugin-secrets-valetkey"
	pluginID   = "spiffe://example.org/vault/plugin"
	// secondPlugin is the same program at another path, so that SPIRE has an entry
	// for each, and Vault a process.
	secondPlugin = pluginName + "-second"

	witnessID = "spiffe://example.org/witness"

	// pluginSVIDSeconds is short. SPIRE dates an SVID back by ten seconds and renews it at
	// half of its life: here within about two seconds.
	pluginSVIDSeconds = "12"
)

// pluginWorld is a world whose Vault runs the plugin, which has its SVIDs from SPIRE
// alone. There are two processes of it, with an entry of one SPIFFE ID each:
// mount "valetkey" is of the first, and "second" of the second.
type pluginWorld struct {
	*world
	dir      string
	accessor string                 // of userpass
	shows    chan *x509.Certificate // what the witness was shown
}

func newPluginWorld(t *testing.T) *pluginWorld {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, name := range []string{pluginName, secondPlugin} {
		must(t, os.Link(program(t, pluginName), filepath.Join(dir, name)))
	}
	p := &pluginWorld{world: newWorldWithoutVault(t), dir: dir, shows: make(chan *x509.Certificate, 1)}
	// The agent has learned of them by the time that Vault is up.
	p.admit(t)
	p.enter(pluginName)
	p.enter(secondPlugin)
	p.spire.Entry(witnessID, "unix:path:"+ourselves(t))
	p.startVault(t, "-dev-plugin-dir="+dir)
	// The configuration ends with the roles.
	p.serve(t, "{method: token, token_file: "+p.write(t, "vault-token", p.brokerToken(t))+"}", "", "\n"+documentedDelegates(t))
	must(t, put(t.Context(), p.s3, "reports/one"))

	p.set(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	auths, err := p.root.Sys().ListAuthWithContext(t.Context())
	must(t, err)
	p.accessor = auths["userpass/"].Accessor
	p.set(t, "sys/policies/acl/user", map[string]any{"policy": `
path "+/creds/*" { capabilities = ["read"] }
path "+/scopes"  { capabilities = ["list"] }
`})
	witness := p.witness(t)
	for mount, name := range map[string]string{"valetkey": pluginName, "second": secondPlugin} {
		p.mount(t, mount, name, p.broker.grpc, brokerID)
		p.mount(t, mount+"-witness", name, witness, witnessID)
	}
	return p
}

// documentedDelegates is the broker's configuration as docs/clients-vault.md prints it.
func documentedDelegates(t *testing.T) string {
	t.Helper()
	for _, s := range snippets(t, "docs/clients-vault.md") {
		if strings.HasPrefix(s.text, "delegates:\n") {
			return s.text
		}
	}
	t.Fatal("docs/clients-vault.md shows no delegates")
	return ""
}

// enter registers a process of the plugin with SPIRE, under its own name.
func (p *pluginWorld) enter(name string) {
	p.spire.EntryWith(pluginID, []string{"-entryID", name, "-x509SVIDTTL", pluginSVIDSeconds}, "unix:path:"+filepath.Join(p.dir, name))
}

// mount enables the plugin. Who a caller is, its alias says: by its name, and by what
// Vault's operator has written to it.
func (p *pluginWorld) mount(t *testing.T, at, name, address, id string) {
	t.Helper()
	p.set(t, "sys/mounts/"+at, map[string]any{"type": name})
	alias := "identity.entity.aliases." + p.accessor
	p.set(t, at+"/config", map[string]any{
		"address": address, "broker_id": id, "workload_api": p.spire.WorkloadAPI(), "ledger_key": p.vkey, "environment": "staging",
		"agent_template": "spiffe://example.org/agent/{{" + alias + ".name}}/{{" + alias + ".custom_metadata.place}}",
	})
}

// login makes a user of Vault with an entity, and is a client of the user's.
func (p *pluginWorld) login(t *testing.T, user, place string) *api.Client {
	t.Helper()
	p.set(t, "auth/userpass/users/"+user, map[string]any{"password": "p-" + user, "token_policies": "user"})
	entity := p.set(t, "identity/entity", map[string]any{"name": user})
	p.set(t, "identity/entity-alias", map[string]any{
		"name": user, "canonical_id": entity.Data["id"], "mount_accessor": p.accessor, "custom_metadata": map[string]any{"place": place},
	})
	return p.vaultClient(t, p.set(t, "auth/userpass/login/"+user, map[string]any{"password": "p-" + user}).Auth.ClientToken)
}

// witness is a server that the plugin takes for a broker, and which answers nothing.
// It tells which certificate the plugin has shown in the handshake.
func (p *pluginWorld) witness(t *testing.T) (addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(p.spire.WorkloadAPI())))
	must(t, err)
	t.Cleanup(func() { must(t, source.Close()) })
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny()))),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			from, _ := peer.FromContext(stream.Context())
			info, ok := from.AuthInfo.(credentials.TLSInfo)
			if !ok || len(info.State.PeerCertificates) == 0 {
				return status.Error(codes.Internal, "no certificate was shown")
			}
			p.shows <- info.State.PeerCertificates[0]
			return status.Error(codes.Unimplemented, "a witness answers nothing")
		}),
	)
	t.Cleanup(server.Stop)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(listener) }() // until Stop
	return listener.Addr().String()
}

// shown is the certificate that the plugin's process of a mount has now.
func (p *pluginWorld) shown(t *testing.T, caller *api.Client, mount string) *x509.Certificate {
	t.Helper()
	_, err := caller.Logical().ListWithContext(t.Context(), mount+"-witness/scopes")
	select {
	case leaf := <-p.shows:
		return leaf
	default:
		t.Fatalf("the witness has seen nobody: %v", err)
		return nil
	}
}
