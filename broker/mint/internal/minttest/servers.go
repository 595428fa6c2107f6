package minttest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// FreeAddr returns a loopback address that nothing listens on.
func FreeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// output collects what a server prints, to show when a test fails.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// run starts cmd and kills it when the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			out.mu.Lock()
			defer out.mu.Unlock()
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), out.buf.String())
		}
	})
}

// StartVaultTLS returns the address of a fresh Vault in dev mode with TLS, its root token, and
// the roots to trust it by. (brokertest/servers starts the one with plain HTTP.)
func StartVaultTLS(t *testing.T) (address, token string, roots *x509.CertPool) {
	t.Helper()
	path, err := servers.Binary("vault")
	if err != nil {
		t.Fatal(err)
	}
	addr, dir, token := FreeAddr(t), t.TempDir(), rand.Text()
	cmd := exec.Command(path, "server", "-dev", "-dev-tls", "-dev-tls-cert-dir="+dir, "-dev-tls-san=127.0.0.1",
		"-dev-listen-address="+addr, "-dev-no-store-token")
	cmd.Env = append(os.Environ(), "VAULT_DEV_ROOT_TOKEN_ID="+token, "VAULT_DISABLE_MLOCK=true", "HOME="+dir)
	run(t, cmd)
	roots = x509.NewCertPool()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	Eventually(t, 30*time.Second, "Vault has made its certificate", func() bool {
		pem, err := os.ReadFile(filepath.Join(dir, "vault-ca.pem"))
		return err == nil && roots.AppendCertsFromPEM(pem)
	})
	Eventually(t, 30*time.Second, "Vault is healthy", func() bool {
		resp, err := client.Get("https://" + addr + "/v1/sys/health") //nolint:noctx // bounded by the client
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "https://" + addr, token, roots
}
