package servers

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
)

// VaultFile starts a Vault that is not in dev mode: file storage, and neither
// initialised nor unsealed, which is the caller's to do, as the root token is.
// plugins is the folder that its plugins are in.
func VaultFile(t TB, plugins string) VaultServer {
	t.Helper()
	return configuredVault(t, plugins, plainHTTP, func(dir string, _ []int) string {
		return fmt.Sprintf("storage \"file\" { path = %q }\n", filepath.Join(dir, "data"))
	})
}

// VaultRaft is VaultFile with Raft storage, so that several make a cluster: join is
// the address of the one that the others join, and empty for that one itself.
func VaultRaft(t TB, plugins, join string) VaultServer {
	t.Helper()
	return configuredVault(t, plugins, plainHTTP, raft(t, join))
}

// VaultAsRun is VaultRaft of one server on HTTPS with nothing of dev mode: what people run. It is neither initialised
// nor unsealed, and has no audit device, which are the caller's to do.
func VaultAsRun(t TB) VaultServer {
	t.Helper()
	dir := t.TempDir()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS() // it has a certificate for loopback
	defer s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatalf("encoding Vault's key: %v", err)
	}
	l := listener{scheme: "https", cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{l.cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, l.key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatalf("writing Vault's certificate: %v", err)
		}
	}
	return configuredVault(t, "", l, raft(t, ""))
}

// listener is how a Vault is reached: by "http", or by "https" with a certificate that is its own CA's.
type listener struct{ scheme, cert, key string }

var plainHTTP = listener{scheme: "http"}

func (l listener) config() string {
	if l.cert == "" {
		return "tls_disable = true"
	}
	return fmt.Sprintf("tls_cert_file = %q\n  tls_key_file = %q", l.cert, l.key)
}

// raft is the storage of a server, of the cluster of another unless that is empty.
func raft(t TB, join string) func(dir string, ports []int) string {
	return func(dir string, ports []int) string {
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
	}
}

func configuredVault(t TB, plugins string, l listener, storage func(dir string, ports []int) string) VaultServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "vault.hcl")
	p, ports := launchProcess(t, "vault", dir, 2, func(ports []int) launchPlan {
		text := fmt.Sprintf("%slistener \"tcp\" {\n  address = %q\n  cluster_address = %q\n  %s\n}\n"+
			"api_addr = \"%s://%s\"\ncluster_addr = \"https://%s\"\nplugin_directory = %q\ndisable_mlock = true\n",
			storage(dir, ports), loopback(ports[0]), loopback(ports[1]), l.config(), l.scheme, loopback(ports[0]), loopback(ports[1]), plugins)
		// A launch that fails is tried again on other ports, and says so itself.
		err := os.WriteFile(config, []byte(text), 0o600)
		client := http.DefaultClient
		if err == nil && l.cert != "" {
			client, err = trusting(l.cert)
		}
		return launchPlan{
			args: []string{"server", "-config=" + config},
			ready: func(ctx context.Context) error {
				if err != nil {
					return err
				}
				// By these it answers 200 in the state it is born in.
				return httpReady(ctx, client, l.scheme+"://"+loopback(ports[0])+"/v1/sys/health?uninitcode=200&sealedcode=200")
			},
		}
	})
	return VaultServer{Addr: l.scheme + "://" + loopback(ports[0]), CAFile: l.cert, PID: p.cmd.Process.Pid}
}
