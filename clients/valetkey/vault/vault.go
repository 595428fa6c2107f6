// Package vault makes clients of Vault's own API. It is apart from the SDK's core so that a program that needs none does
// not build Vault's.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// NewClient makes a client of Vault's own API that takes its token from src, whose
// scope gives one, on every request. It waits for the first token. The address and namespace are those that the broker names;
// how to trust Vault's certificate is read from the environment as Vault's own
// tools do (VAULT_CACERT and the like). Token tells the first token, and is not
// asked again.
func NewClient(ctx context.Context, src *valetkey.Source) (*api.Client, error) {
	cred, err := src.Credential(ctx)
	if err != nil {
		return nil, err
	}
	s := cred.Reveal().Vault
	if s == nil || s.Token == "" {
		return nil, fmt.Errorf("scope %s gives no Vault token", src.Scope())
	}
	c, err := client(s, func(base http.RoundTripper) http.RoundTripper {
		return &tokenTransport{base: base, src: src, address: s.Address, namespace: s.Namespace}
	})
	if err != nil {
		return nil, err
	}
	c.SetToken(s.Token)
	return c, nil
}

// client is a client without a token, for where the secret is from.
func client(s *valetkey.VaultSecret, wrap func(http.RoundTripper) http.RoundTripper) (*api.Client, error) {
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
	src                *valetkey.Source
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

// Data is what a secrets engine gave, as JSON, out of its wrapping if it has one,
// which opens once.
func Data(ctx context.Context, s *valetkey.VaultSecret) ([]byte, error) {
	switch {
	case s == nil:
		return nil, errors.New("the credential is not of Vault")
	case s.WrappingToken == "":
		return s.DataJSON, nil
	}
	c, err := client(s, func(base http.RoundTripper) http.RoundTripper { return base })
	if err != nil {
		return nil, err
	}
	inside, err := c.Logical().UnwrapWithContext(ctx, s.WrappingToken)
	if err != nil {
		return nil, fmt.Errorf("unwrapping: %w", err)
	}
	if inside == nil || len(inside.Data) == 0 {
		return nil, errors.New("unwrapping: there is nothing inside")
	}
	return json.Marshal(inside.Data)
}
