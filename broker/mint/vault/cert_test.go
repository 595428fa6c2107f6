package vault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/broker/mint/vault"
)

// svidFor returns a self-signed X.509-SVID and its PEM.
func svidFor(t *testing.T, id string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "valetkeyd"}, URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestVaultCertLogin logs in to a real Vault over TLS with an X.509-SVID.
func TestVaultCertLogin(t *testing.T) {
	server := servers.VaultTLS(t)
	address, roots := server.Addr, x509.NewCertPool()
	ca, err := os.ReadFile(server.CAFile)
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("reading Vault's CA: %v", err)
	}
	base := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	root, err := api.NewClient(&api.Config{Address: address, HttpClient: &http.Client{Transport: &http.Transport{TLSClientConfig: base}}})
	if err != nil {
		t.Fatal(err)
	}
	root.SetToken(server.RootToken)
	svid, pemText := svidFor(t, "spiffe://example.org/valetkeyd")
	other, _ := svidFor(t, "spiffe://example.org/other")
	for path, data := range map[string]map[string]any{
		"sys/auth/cert":           {"type": "cert"},
		"sys/policies/acl/broker": {"policy": brokerPolicy},
	} {
		if _, err := root.Logical().WriteWithContext(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.Logical().WriteWithContext(t.Context(), "auth/cert/certs/broker", map[string]any{
		"certificate": pemText, "allowed_uri_sans": "spiffe://example.org/valetkeyd", "token_policies": "broker",
	}); err != nil {
		t.Fatal(err)
	}
	desk := minttest.NewDesk(t)
	login := func(cert tls.Certificate) error {
		cfg := base.Clone()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		m, err := vault.New(t.Context(), vault.Config{
			Role: "test", Address: address, TLS: cfg, Permits: desk.Verifier,
			Auth: vault.Auth{Method: vault.MethodCert, Role: "broker"},
		})
		if err != nil {
			t.Fatal(err)
		}
		cred, err := m.Mint(t.Context(), desk.Permit(minttest.Order(pathPermissions(), time.Minute)))
		if err == nil && !cred.Valid() {
			t.Error("neither a credential nor an error")
		}
		return err
	}
	if err := login(svid); err != nil {
		t.Errorf("the broker's SVID: %v", err)
	}
	check(t, login(other), mint.ErrRefused, false)
}

func TestNewRefuses(t *testing.T) {
	desk := minttest.NewDesk(t)
	ok := vault.Config{Role: "r", Address: "https://127.0.0.1:1", Permits: desk.Verifier, Auth: vault.Auth{Method: vault.MethodCert}}
	for name, change := range map[string]func(*vault.Config){
		"no role":          func(c *vault.Config) { c.Role = "" },
		"no address":       func(c *vault.Config) { c.Address = "" },
		"address no URL":   func(c *vault.Config) { c.Address = "localhost:8200" },
		"no verifier":      func(c *vault.Config) { c.Permits = nil },
		"no method":        func(c *vault.Config) { c.Auth.Method = "" },
		"token, no source": func(c *vault.Config) { c.Auth.Method = vault.MethodToken },
		"jwt, no source":   func(c *vault.Config) { c.Auth.Method = vault.MethodJWT },
		"cert, no SVID":    func(*vault.Config) {},
		"token role path":  func(c *vault.Config) { c.TokenRole = "../x" },
	} {
		cfg := ok
		change(&cfg)
		if _, err := vault.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
