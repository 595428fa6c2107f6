package scopes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// vaultPath is one compiled Vault rule.
type vaultPath struct {
	path         template
	capabilities []string
}

// tierReason is why a scope's tier is not under tier.
type tierReason struct {
	tier Tier
	text string
}

// vaultTier classifies one rule of a Vault policy; see vaultacl.TierOf. A rule without capabilities is refused before.
func vaultTier(path string, capabilities []string) (Tier, string) {
	t, why := vaultacl.TierOf(path, capabilities)
	return max(t, TierRead), why
}

// dynamicTier classifies reading a dynamic secret: it makes an account or a key upstream, so it is a write whatever
// the rights of what it makes, which Vault decides and nobody here can see.
func dynamicTier(path string) (Tier, string) {
	for _, s := range strings.Split(path, "/") {
		if slices.Contains(vaultacl.Reserved(), s) {
			return TierAdmin, path + ": reading under " + s
		}
	}
	return TierWrite, path + ": reading a dynamic secret makes credentials"
}

// vaultValue refuses a value that would be more than text in a path, or would move the path under a reserved segment.
func vaultValue(v string) error {
	if strings.ContainsAny(v, "+%: ") {
		return fmt.Errorf("%q has a character that a Vault path gives a meaning", v)
	}
	for _, seg := range strings.Split(v, "/") {
		if seg == "" || slices.Contains(vaultacl.Reserved(), seg) {
			return fmt.Errorf("%q has a segment that a Vault path gives a meaning", v)
		}
	}
	return nil
}
