package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

const (
	ownSecret    = "secret/web/db"
	othersSecret = "secret/ads/db"
	webUser      = "web-reports"
)

// brokerRights are all that the broker may do in Vault: it reads no secret itself.
const brokerRights = `
path "sys/policies/acl/vk-*"      { capabilities = ["create", "update", "delete"] }
path "auth/token/create-orphan"   { capabilities = ["create", "update", "sudo"] }
path "auth/token/revoke-accessor" { capabilities = ["create", "update"] }
path "sys/leases/revoke"          { capabilities = ["create", "update"] }
`

// vault is a Vault as its operator sees it.
type vault struct {
	addr      string
	root      *api.Client
	tokenFile string // with the broker's own token
}

// openVault starts a Vault, writes a secret of each of two teams, and logs the
// broker in. The second result is what must be nowhere in the broker's files.
func openVault(ctx context.Context, s *stage) (*vault, []string, error) {
	server := servers.Vault(s)
	root, err := vaultClient(server.Addr, server.RootToken)
	if err != nil {
		return nil, nil, err
	}
	v := &vault{addr: server.Addr, root: root, tokenFile: filepath.Join(s.TempDir(), "vault-token")}
	passwords := map[string]string{ownSecret: "the-web-teams-password", othersSecret: "the-ads-teams-password"}
	for path, password := range passwords {
		_, err := root.KVv2("secret").Put(ctx, strings.TrimPrefix(path, "secret/"), map[string]any{"username": webUser, "password": password})
		if err != nil {
			return nil, nil, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := root.Sys().PutPolicyWithContext(ctx, "valetkeyd", brokerRights); err != nil {
		return nil, nil, fmt.Errorf("writing the broker's policy: %w", err)
	}
	own, err := root.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{Policies: []string{"valetkeyd"}})
	if err != nil {
		return nil, nil, fmt.Errorf("making the broker's token: %w", err)
	}
	if err := os.WriteFile(v.tokenFile, []byte(own.Auth.ClientToken), 0o600); err != nil {
		return nil, nil, fmt.Errorf("writing the broker's token: %w", err)
	}
	return v, []string{server.RootToken, own.Auth.ClientToken, passwords[ownSecret], passwords[othersSecret]}, nil
}

func vaultClient(addr, token string) (*api.Client, error) {
	c, err := api.NewClient(&api.Config{Address: addr})
	if err != nil {
		return nil, fmt.Errorf("making a client of Vault: %w", err)
	}
	c.SetToken(token)
	return c, nil
}

// refuses is nil where Vault refuses the token.
func (v *vault) refuses(ctx context.Context, token string) error {
	c, err := vaultClient(v.addr, token)
	if err != nil {
		return err
	}
	var refused *api.ResponseError
	switch _, err = c.Auth().Token().LookupSelfWithContext(ctx); {
	case err == nil:
		return errors.New("it is a token that Vault takes")
	case errors.As(err, &refused) && refused.StatusCode == 403:
		return nil
	default:
		return fmt.Errorf("asking Vault about a token: %w", err)
	}
}

// minted names all that is in Vault for grants: their policies, and the accessors
// of all tokens, in order.
func (v *vault) minted(ctx context.Context) ([]string, error) {
	var out []string
	for _, path := range []string{"sys/policies/acl", "auth/token/accessors"} {
		list, err := v.root.Logical().ListWithContext(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", path, err)
		}
		if list == nil {
			return nil, fmt.Errorf("listing %s: there is nothing", path)
		}
		names, ok := list.Data["keys"].([]any)
		if !ok {
			return nil, fmt.Errorf("listing %s: no keys in the answer", path)
		}
		for _, n := range names {
			out = append(out, fmt.Sprint(n))
		}
	}
	slices.Sort(out)
	return out, nil
}
