package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/mint"
)

// checkLife is that of a token which only shows that it can be made.
const checkLife = 10 * time.Second

var _ mint.Checker = (*Minter)(nil)

// needs are the paths that minting calls, with the capabilities for it. A call that writes needs
// create or update as Vault finds something there or not.
func (c Config) needs(nobody string) map[string][]string {
	out := map[string][]string{
		"sys/policies/acl/vk-" + nobody: {"create", "update", "delete"},
		"auth/token/revoke-accessor":    {"update"},
		"sys/leases/revoke":             {"update"},
	}
	if c.TokenRole != "" {
		out["auth/token/create/"+c.TokenRole] = []string{"update"}
	} else {
		out["auth/token/create-orphan"] = []string{"update", "sudo"}
	}
	return out
}

// tolerated may go with what is needed: "create" beside "update" is how policies are written.
func tolerated(need []string) []string { return append(slices.Clone(need), "create", "deny") }

// foreign are paths that minting never calls: policies, mounts and logins of others, secrets, and
// what makes wider tokens. nobody is a name that nobody knows, so that only a pattern gives it.
func (c Config) foreign(nobody string, reads []string) []string {
	out := []string{
		"sys/policies/acl/" + nobody, "sys/policy/" + nobody, "sys/mounts/" + nobody, "sys/mounts/" + nobody + "/tune", "sys/remount", "sys/auth/" + nobody,
		"sys/audit/" + nobody, "sys/raw/" + nobody, "sys/seal", "sys/step-down", "sys/rotate", "sys/config/auditing/request-headers/" + nobody,
		"sys/plugins/catalog/secret/" + nobody, "sys/plugins/reload/backend", "sys/storage/raft/snapshot", "sys/quotas/rate-limit/" + nobody, "sys/namespaces/" + nobody,
		"sys/leases/lookup/" + nobody, "sys/leases/revoke-prefix/" + nobody, "sys/leases/revoke-force/" + nobody,
		"auth/token/create", "auth/token/create/" + nobody, "auth/token/roles/" + nobody, "auth/token/accessors", "auth/token/revoke", "auth/token/revoke-orphan",
		"identity/entity", "identity/group", "identity/oidc/key/" + nobody, "identity/oidc/token/" + nobody, nobody + "/" + nobody,
	}
	if c.TokenRole != "" {
		out = append(out, "auth/token/roles/"+c.TokenRole, "auth/token/create-orphan")
	}
	if c.Auth.Method != MethodToken && c.Auth.Role != "" {
		out = append(out, "auth/"+strings.Trim(c.Auth.Mount, "/")+"/role/"+c.Auth.Role)
	}
	return append(out, reads...)
}

// CheckRights implements mint.Checker: it asks Vault for the broker's capabilities, and tries the
// token role. It makes at most two tokens, which can do nothing and are revoked.
func (m *Minter) CheckRights(ctx context.Context, reads []string) (f mint.Findings) {
	nobody := strings.ToLower(rand.Text())
	needs := m.cfg.needs(nobody)
	paths := append(slices.Sorted(maps.Keys(needs)), m.cfg.foreign(nobody, reads)...)
	caps, err := m.capabilities(ctx, paths)
	switch {
	case errors.Is(err, errForbidden):
		f.Add(mint.RightsUnknown, `the broker may not ask for its own capabilities: give it path "sys/capabilities-self" { capabilities = ["update"] }`)
	case err != nil:
		f.Add(mint.RightsUnknown, "asking Vault for the broker's capabilities: %v", err)
		return f // no login, or no Vault: nothing else can be asked either
	case slices.Contains(caps[paths[0]], "root"):
		f.Add(mint.RightsBeyond, "the broker's token is a root token: it can do everything; give it the policy of docs/revocation.md")
		return f
	default:
		m.compare(&f, needs, caps, nobody, reads)
	}
	m.tryTokens(ctx, &f, nobody)
	return f
}

func (m *Minter) compare(f *mint.Findings, needs, caps map[string][]string, nobody string, reads []string) {
	for _, path := range slices.Sorted(maps.Keys(needs)) {
		shown := strings.ReplaceAll(path, nobody, "*")
		var lacks, more []string
		for _, c := range needs[path] {
			if !slices.Contains(caps[path], c) {
				lacks = append(lacks, c)
			}
		}
		for _, c := range caps[path] {
			if !slices.Contains(tolerated(needs[path]), c) {
				more = append(more, c)
			}
		}
		if len(lacks) > 0 {
			f.Add(mint.RightsMissing, "%s on %s", strings.Join(lacks, ", "), shown)
		}
		if len(more) > 0 {
			f.Add(mint.RightsBeyond, "%s on %s", strings.Join(more, ", "), shown)
		}
	}
	for _, path := range m.cfg.foreign(nobody, reads) {
		has := slices.DeleteFunc(slices.Clone(caps[path]), func(c string) bool { return c == "deny" })
		if len(has) > 0 {
			f.Add(mint.RightsBeyond, "%s on %s", strings.Join(has, ", "), strings.ReplaceAll(path, nobody, "*"))
		}
	}
	if m.cfg.TokenRole == "" {
		f.Add(mint.RightsBeyond, "sudo on auth/token/create-orphan makes tokens with any policy but root: set token_role in its place")
	}
}

// capabilities are the broker's own, by path.
func (m *Minter) capabilities(ctx context.Context, paths []string) (map[string][]string, error) {
	var s *api.Secret
	if err := m.up.Do(ctx, func(ctx context.Context) (err error) {
		s, err = m.asBroker(ctx, request{method: http.MethodPut, path: "sys/capabilities-self", body: map[string]any{"paths": paths}})
		return err
	}); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	if s == nil {
		return nil, fmt.Errorf("no answer: %w", mint.ErrInvalid)
	}
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", mint.ErrInvalid)
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", mint.ErrInvalid)
	}
	for _, path := range paths {
		var caps []string
		if json.Unmarshal(data[path], &caps) != nil || len(caps) == 0 {
			return nil, fmt.Errorf("no capabilities for %q in the answer: %w", path, mint.ErrInvalid)
		}
		out[path] = caps
	}
	return out, nil
}

// tryTokens makes a token as a minting does, and one with a policy that is not vk-*, which a token
// role has to refuse.
func (m *Minter) tryTokens(ctx context.Context, f *mint.Findings, nobody string) {
	auth, err := m.tryToken(ctx, "vk-check-"+nobody)
	switch {
	case err != nil:
		f.Add(mint.RightsMissing, "making a token: %v", err)
	case !auth.Orphan:
		f.Add(mint.RightsMissing, "tokens have the broker's login as their parent and end with it: set orphan=true on the token role")
	case len(auth.Policies) != 1 || auth.Renewable:
		f.Add(mint.RightsMissing, "tokens are renewable, or have policies beside their own: the token role adds to them")
	}
	if m.cfg.TokenRole == "" {
		return
	}
	switch _, err := m.tryToken(ctx, "valetkey-check-"+nobody); {
	case err == nil:
		f.Add(mint.RightsBeyond, "the token role %q makes tokens with any policy: set allowed_policies_glob=vk-* on it", m.cfg.TokenRole)
	case !errors.Is(err, mint.ErrRefused):
		f.Add(mint.RightsUnknown, "whether the token role %q makes tokens with other policies: %v", m.cfg.TokenRole, err)
	}
}

// tryToken makes a token of a policy that there is not, and revokes it.
func (m *Minter) tryToken(ctx context.Context, policy string) (auth *api.SecretAuth, err error) {
	err = m.up.Do(ctx, func(ctx context.Context) error {
		s, err := m.newToken(ctx, tokenFor{policy: policy, name: "check", ttl: checkLife, meta: map[string]string{"check": "rights"}})
		if err != nil {
			return err
		}
		if s == nil || s.Auth == nil {
			return fmt.Errorf("answer has no token: %w", mint.ErrInvalid)
		}
		auth = s.Auth
		_, err = m.end(ctx, mint.Handle{Provider: mint.ProviderVault, VaultAccessor: auth.Accessor})
		return err
	})
	return auth, err
}
