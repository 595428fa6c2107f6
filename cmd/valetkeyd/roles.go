package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// minters makes one Minter a role. They share the verifier, so that a permit is
// spent once whichever it reaches.
func minters(ctx context.Context, roles map[string]RoleConfig, src identity.Source, permits *mint.Verifier, mark string, log *slog.Logger) (mint.ByRole, error) {
	jwt := func(ctx context.Context, audience string) (string, error) {
		svid, err := src.FetchJWTSVID(ctx, audience)
		if err != nil {
			return "", err
		}
		return svid.Marshal(), nil
	}
	out := mint.ByRole{}
	for name, r := range roles {
		m, err := minter(ctx, name, r, src, jwt, permits, mark, log)
		if err != nil {
			return nil, fmt.Errorf("role %q: %w", name, err)
		}
		out[name] = m
	}
	return out, nil
}

func minter(ctx context.Context, name string, r RoleConfig, src identity.Source, jwt func(context.Context, string) (string, error),
	permits *mint.Verifier, mark string, log *slog.Logger,
) (mint.Minter, error) {
	if r.Provider == mint.ProviderVault {
		cfg := vault.Config{Role: name, Address: r.Address, Namespace: r.Namespace, Permits: permits, Auth: vault.Auth{
			Method: vault.Method(r.Auth.Method), Mount: r.Auth.Mount, Role: r.Auth.Role, Audience: r.Auth.Audience,
		}, TokenRole: r.TokenRole, Mounts: r.mounts()}
		var err error
		if cfg.TLS, err = vaultTLS(r.CAFile); err != nil {
			return nil, err
		}
		switch cfg.Auth.Method {
		case vault.MethodJWT:
			cfg.Auth.JWT = jwt
		case vault.MethodToken:
			cfg.Auth.Token = func(context.Context) (string, error) {
				raw, err := os.ReadFile(r.Auth.TokenFile)
				return strings.TrimSpace(string(raw)), err
			}
		case vault.MethodLogin:
			cfg.Auth.Login = func(context.Context) (map[string]string, error) { return loginWords(r.Auth.LoginFile) }
		case vault.MethodCert:
			cfg.TLS.GetClientCertificate = tlsconfig.GetClientCertificate(src)
		}
		return vault.New(ctx, cfg)
	}
	cfg := awssts.Config{
		Role: name, RoleARN: r.RoleARN, ExternalID: r.ExternalID, Region: r.Region, Endpoint: r.Endpoint, S3Endpoint: r.S3Endpoint,
		Dialect: iam.Dialect(r.Dialect), MaxSession: r.MaxSession, Chained: r.Chained, Permits: permits, Log: log,
	}
	if r.Revoke.RoleDeny {
		cfg.RoleDeny = &awssts.RoleDeny{PolicyName: r.Revoke.PolicyName, Mark: mark, AssumeRoleARN: r.Revoke.AssumeRole, ExternalID: r.Revoke.ExternalID, Cut: r.Revoke.RoleCut, Endpoint: r.Revoke.IAMEndpoint}
	}
	if r.WebIdentityAudience != "" {
		cfg.WebIdentity = &awssts.WebIdentity{Audience: r.WebIdentityAudience, Fetch: jwt}
	}
	return awssts.New(ctx, cfg)
}

func (r RoleConfig) mounts() map[string]vault.Mount {
	out := map[string]vault.Mount{}
	for path, m := range r.Mounts {
		out[path] = vault.Mount{Revocable: m.Revocable, Probe: m.ProbeCommand}
	}
	return out
}

// loginWords reads what to log in to Vault with. Its errors quote nothing of the file.
func loginWords(file string) (map[string]string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	words := map[string]string{}
	// Not encoding/json, which takes the last of a name that is there twice.
	if json.Unmarshal(raw, &words) != nil || len(words) == 0 {
		return nil, fmt.Errorf("%s is no JSON object of texts, each name once", file)
	}
	return words, nil
}

func vaultTLS(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading ca_file: no PEM certificate in %s", caFile)
	}
	return c, nil
}

// dialects has every AWS role's.
func (c Config) dialects() map[string]iam.Dialect {
	out := map[string]iam.Dialect{}
	for name, r := range c.Roles {
		if r.Provider == mint.ProviderAWS {
			out[name] = iam.Dialect(r.Dialect)
		}
	}
	return out
}

// rolesFor refuses a catalog that names a role nobody configured, or one of
// another provider: it would fail at the first mint, in front of an agent.
func rolesFor(cat *scopes.Catalog, roles map[string]RoleConfig) error {
	for _, s := range cat.Scopes() {
		r, ok := roles[s.Role()]
		switch {
		case !ok:
			return fmt.Errorf("%w: scope %q names role %q, which the config does not have", scopes.ErrCatalog, s.Name(), s.Role())
		case r.Provider != string(s.Provider()):
			return fmt.Errorf("%w: scope %q is for %s, but role %q is of %s", scopes.ErrCatalog, s.Name(), s.Provider(), s.Role(), r.Provider)
		}
	}
	return nil
}
