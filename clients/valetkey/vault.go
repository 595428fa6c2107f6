package valetkey

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"
)

// Vault makes a client of Vault's own API for a scope that gives a token: with
// the token, Vault's address and its namespace set. It waits for the first token,
// and has a living one on every request after that. See NewVaultClient.
func (t *Task) Vault(ctx context.Context, scope string, params Params, opts ...RequestOption) (*api.Client, error) {
	return NewVaultClient(ctx, t.Source(scope, params, opts...))
}

// NewVaultClient makes a client of Vault's own API that takes its token from src
// on every request. The address and namespace are those that the broker names;
// how to trust Vault's certificate is read from the environment as Vault's own
// tools do (VAULT_CACERT and the like). Token tells the first token, and is not
// asked again.
func NewVaultClient(ctx context.Context, src *Source) (*api.Client, error) {
	cred, err := src.Credential(ctx)
	if err != nil {
		return nil, err
	}
	s := cred.Reveal().Vault
	if s == nil || s.Token == "" {
		return nil, fmt.Errorf("scope %s gives no Vault token", src.req.scope)
	}
	client, err := vaultClient(s, func(base http.RoundTripper) http.RoundTripper {
		return &tokenTransport{base: base, src: src, address: s.Address, namespace: s.Namespace}
	})
	if err != nil {
		return nil, err
	}
	client.SetToken(s.Token)
	return client, nil
}

// vaultClient is a client without a token, for where the secret is from.
func vaultClient(s *VaultSecret, wrap func(http.RoundTripper) http.RoundTripper) (*api.Client, error) {
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		return nil, fmt.Errorf("configuring a Vault client: %w", cfg.Error)
	}
	// The environment may name another Vault. This token is for this one.
	cfg.Address, cfg.AgentAddress = s.Address, ""
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a Vault client for %s: %w", s.Address, err)
	}
	cfg.HttpClient.Transport = wrap(cfg.HttpClient.Transport)
	client.ClearToken()
	client.ClearNamespace()
	if s.Namespace != "" {
		client.SetNamespace(s.Namespace)
	}
	return client, nil
}

// tokenTransport puts a living token where the client has put its first.
type tokenTransport struct {
	base               http.RoundTripper
	src                *Source
	address, namespace string
}

var errVaultMoved = errors.New("the broker names another Vault now: make a new client")

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get(api.AuthHeaderName) == "" {
		return t.base.RoundTrip(r)
	}
	cred, err := t.src.Credential(r.Context())
	if err != nil {
		return nil, closeBody(r, err)
	}
	s := cred.Reveal().Vault
	if s == nil || s.Token == "" || s.Address != t.address || s.Namespace != t.namespace {
		return nil, closeBody(r, errVaultMoved)
	}
	// A RoundTripper does not change what it is given.
	r = r.Clone(r.Context())
	r.Header.Set(api.AuthHeaderName, s.Token)
	return t.base.RoundTrip(r)
}

// closeBody is a RoundTripper's duty on errors, too.
func closeBody(r *http.Request, err error) error {
	if r.Body != nil {
		err = errors.Join(err, r.Body.Close())
	}
	return err
}
