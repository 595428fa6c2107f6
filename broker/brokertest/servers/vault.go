package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// VaultServer is a running Vault. In dev mode it has memory storage and is unsealed.
type VaultServer struct {
	Addr      string // http://127.0.0.1:port, or https where CAFile is set
	RootToken string
	// CAFile is what its certificate is verified by; empty for plain HTTP.
	CAFile string
	// PID is its process.
	PID int
}

// Vault starts a Vault on plain HTTP that lives until t's clean-up. args adds
// flags such as "-dev-plugin-dir=...".
func Vault(t TB, args ...string) VaultServer {
	t.Helper()
	return startVault(t, t.TempDir(), "http", func(ctx context.Context, url string) error {
		return httpReady(ctx, http.DefaultClient, url)
	}, args...)
}

// VaultTLS is Vault on HTTPS, which the login by a client certificate needs.
func VaultTLS(t TB) VaultServer {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "vault-ca.pem")
	s := startVault(t, dir, "https", func(ctx context.Context, url string) error {
		client, err := trusting(ca)
		if err != nil {
			return err
		}
		return httpReady(ctx, client, url)
	}, "-dev-tls", "-dev-tls-cert-dir="+dir, "-dev-tls-san=127.0.0.1")
	s.CAFile = ca
	return s
}

// trusting is a client that knows the one CA, and keeps no connection.
func trusting(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading Vault's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading Vault's CA: no certificate")
	}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}, nil
}

func startVault(t TB, dir, scheme string, ready func(ctx context.Context, url string) error, args ...string) VaultServer {
	t.Helper()
	s := VaultServer{RootToken: randomSecret(t)}
	p, ports := launchProcess(t, "vault", dir, 1, func(ports []int) launchPlan {
		return launchPlan{
			// By environment, so that the token is not in the process list.
			env: []string{"VAULT_DEV_ROOT_TOKEN_ID=" + s.RootToken, "VAULT_DISABLE_MLOCK=true"},
			args: append([]string{
				"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + loopback(ports[0]),
			}, args...),
			ready: func(ctx context.Context) error {
				return ready(ctx, scheme+"://"+loopback(ports[0])+"/v1/sys/health")
			},
		}
	})
	s.Addr, s.PID = scheme+"://"+loopback(ports[0]), p.cmd.Process.Pid
	return s
}
