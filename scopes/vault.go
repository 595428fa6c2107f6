package scopes

import (
	"fmt"
	"slices"
	"strings"
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

// The segments that give a path its meaning. They are looked for as literal text of the template; a parameter can
// never become one of reserved.
func vaultReserved() []string { return []string{"sys", "auth", "identity"} }

// vaultTier classifies one rule of a Vault policy:
//
//   - sudo, and any change under sys, auth or identity, or to a role, config or root of an engine, is admin;
//   - delete, and any change under destroy, delete, metadata or trim, is destructive;
//   - create, update and patch are write, and so is reading a path that makes credentials (creds, sts, static-creds);
//   - read and list are read;
//   - a wildcard reaches what it could match: without a "data" or "metadata" segment before it, a change is admin and a
//     read is write, since the same mount may hold roles, config and creds.
func vaultTier(path string, capabilities []string) (Tier, string) {
	tier, why := TierRead, ""
	set := func(t Tier, text string) {
		if t > tier {
			tier, why = t, path+": "+text
		}
	}
	changes, reads := false, false
	for _, c := range capabilities {
		switch c {
		case "sudo":
			set(TierAdmin, "sudo")
		case "read":
			reads = true
		case "delete":
			changes = true
			set(TierDestructive, "delete")
		case "create", "update", "patch":
			changes = true
			set(TierWrite, c)
		}
	}
	segs := strings.Split(path, "/")
	has := func(words ...string) string {
		for _, s := range segs {
			if slices.Contains(words, s) {
				return s
			}
		}
		return ""
	}
	if strings.ContainsAny(segs[0], "*+") {
		set(TierAdmin, "a wildcard for the mount reaches sys")
	}
	if w := has("creds", "sts", "static-creds"); w != "" {
		set(TierWrite, "reading under "+w+" makes credentials")
	}
	open := reachesAny(segs)
	if open && reads {
		set(TierWrite, "the wildcard can reach a path that makes credentials")
	}
	if !changes {
		return tier, why
	}
	if open {
		set(TierAdmin, "the wildcard can reach an engine's roles and config")
	}
	if w := has(vaultReserved()...); w != "" {
		set(TierAdmin, "a change under "+w)
	}
	if !slices.Contains(segs, "data") && !slices.Contains(segs, "metadata") {
		if w := has("role", "roles", "config", "root", "rotate-root", "static-role", "static-roles"); w != "" {
			set(TierAdmin, "a change under "+w)
		}
	}
	if w := has("destroy", "delete", "metadata", "trim"); w != "" {
		set(TierDestructive, "a change under "+w)
	}
	return tier, why
}

// reachesAny tells whether a wildcard stands where an engine's own words could: not behind the data or metadata of a KV
// store. The first segment is the mount's name, which may be any word.
func reachesAny(segs []string) bool {
	for i, s := range segs {
		if i > 0 && (s == "data" || s == "metadata") {
			return false
		}
		if strings.ContainsAny(s, "*+") {
			return true
		}
	}
	return false
}

// dynamicTier classifies reading a dynamic secret: it makes an account or a key upstream, so it is a write whatever
// the rights of what it makes, which Vault decides and nobody here can see.
func dynamicTier(path string) (Tier, string) {
	for _, s := range strings.Split(path, "/") {
		if slices.Contains(vaultReserved(), s) {
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
		if seg == "" || slices.Contains(vaultReserved(), seg) {
			return fmt.Errorf("%q has a segment that a Vault path gives a meaning", v)
		}
	}
	return nil
}
