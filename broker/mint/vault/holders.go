package vault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// holdersFor is how long Vault's answer about a mount's type stands.
const holdersFor = time.Minute

// holders are the mounts whose engine was seen to hand out nothing that lives on: what can be
// read of them is what somebody put there.
type holders struct {
	mu   sync.Mutex
	seen map[string]time.Time // mount -> when Vault said its type; guarded by mu
}

// holds are the types of engines that keep data and make no credentials, and Vault's own system,
// whose changes people decide on (tier admin). All else can hand out something with a life of its
// own: accounts, certificates, signed keys, tokens.
func holds(engine string) bool {
	return slices.Contains([]string{"kv", "generic", "cubbyhole", "transit", "system"}, engine)
}

// mintsNothing refuses a token whose policy reaches an engine that hands out what would outlive
// it. Vault tells a mount's type to a token that may reach the mount, so token, which has the
// policy, asks for itself, and the broker needs no right of its own.
func (m *Minter) mintsNothing(ctx context.Context, token string, rules []vaultacl.Rule) error {
	for _, r := range rules {
		if !slices.ContainsFunc(r.Capabilities, canTake) || slices.Contains(r.Capabilities, "deny") {
			continue
		}
		literal, _, _ := strings.Cut(r.Path, "+")
		literal = strings.TrimSuffix(literal, "*")
		if strings.HasPrefix(literal, "auth/") && !slices.ContainsFunc(r.Capabilities, changes) {
			continue // a login and a new token are writes
		}
		if err := m.holder(ctx, token, r.Path, literal); err != nil {
			return err
		}
	}
	return nil
}

// canTake reports whether an answer to a call with this capability can hold a credential.
func canTake(capability string) bool {
	return !slices.Contains([]string{"list", "delete", "deny"}, capability)
}

func changes(capability string) bool { return canTake(capability) && capability != "read" }

// couldBe reports whether a path with a wildcard could be one below prefix without saying so.
func couldBe(path, literal, prefix string) bool {
	return path != literal && literal != prefix && strings.HasPrefix(prefix, literal)
}

// handsOutKeys are the operations of transit whose answer is a key.
var handsOutKeys = []string{"export/", "backup/", "byok-export/"} // read-only

func (m *Minter) holder(ctx context.Context, token, path, literal string) error {
	now := m.cfg.Now()
	m.holders.mu.Lock()
	for at, when := range m.holders.seen {
		if strings.HasPrefix(literal, at) && now.Sub(when).Abs() < holdersFor {
			m.holders.mu.Unlock()
			return nil
		}
	}
	m.holders.mu.Unlock()
	refused := func(why string) error {
		return &mint.OutlivesError{Why: fmt.Sprintf("the path %q %s", path, why)}
	}
	s, err := m.do(ctx, request{method: http.MethodGet, path: "sys/internal/ui/mounts/" + literal, token: token})
	if err != nil && mint.Maybe(err) {
		return fmt.Errorf("asking what is mounted at %q: %w", literal, err)
	}
	if err != nil || s == nil {
		// Nothing is there today, or more than one mount is: what will be there is not known.
		return refused("is at no mount that Vault knows, so what it can hand out is not known")
	}
	engine, _ := s.Data["type"].(string)
	at, _ := s.Data["path"].(string)
	switch {
	case at == "" || !strings.HasPrefix(literal, at):
		return refused("reaches beyond one mount, so what it can hand out is not known")
	case !holds(engine):
		return refused(fmt.Sprintf("is at a mount of type %q, which hands out what has a life of its own; a dynamic secret needs a scope with \"read\" in place of \"paths\"", engine))
	case engine == "transit":
		if slices.ContainsFunc(handsOutKeys, func(operation string) bool { return couldBe(path, literal, at+operation) }) {
			return refused("could hand out transit's keys, which nobody who approved it saw; name the operations, such as " + at + "encrypt/*, or export itself")
		}
		return nil // of each path anew: the mount alone does not tell
	}
	m.holders.mu.Lock()
	defer m.holders.mu.Unlock()
	if m.holders.seen == nil || len(m.holders.seen) >= maxPaths {
		m.holders.seen = map[string]time.Time{}
	}
	m.holders.seen[at] = now
	return nil
}
