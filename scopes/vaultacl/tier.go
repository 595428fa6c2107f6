package vaultacl

import (
	"slices"
	"strings"
)

// Tier is how much harm can be done. The zero value is TierNone: nothing is allowed.
type Tier int

// The tiers, each wider than the one before it.
const (
	TierNone Tier = iota
	TierRead
	TierWrite
	TierDestructive
	TierAdmin
)

// String returns "none", "read", "write", "destructive" or "admin".
func (t Tier) String() string {
	switch t {
	case TierRead:
		return "read"
	case TierWrite:
		return "write"
	case TierDestructive:
		return "destructive"
	case TierAdmin:
		return "admin"
	case TierNone:
	}
	return "none"
}

// Reserved lists the segments that give a path its meaning to Vault itself, whatever is mounted.
func Reserved() []string { return []string{"sys", "auth", "identity"} }

// TierOf classifies what some capabilities mean on a path, with the reason, which names the path; a read has none.
//
//   - sudo, and any change under sys, auth or identity, or to a role, config or root of an engine, is admin;
//   - delete, and any change under destroy, delete, metadata or trim, is destructive;
//   - create, update, patch and recover are write, and so is reading a path that makes credentials (creds, sts,
//     static-creds);
//   - read, list and subscribe are read;
//   - a wildcard reaches what it could match: without a "data" or "metadata" segment before it, a change is admin and a
//     read is write, since the same mount may hold roles, config and creds.
func TierOf(path string, capabilities []string) (Tier, string) {
	tier, why := TierNone, ""
	set := func(t Tier, text string) {
		if t > tier {
			tier, why = t, path+": "+text
		}
	}
	changes, reads := false, false
	for _, c := range capabilities {
		switch c {
		case "deny":
			return TierNone, ""
		case "sudo":
			set(TierAdmin, "sudo")
		case "read":
			reads = true
		case "delete":
			changes = true
			set(TierDestructive, "delete")
		case "create", "update", "patch", "recover":
			changes = true
			set(TierWrite, c)
		}
	}
	if len(capabilities) > 0 && tier < TierRead {
		tier = TierRead
	}
	if tier == TierNone {
		return tier, why
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
	if w := has(Reserved()...); w != "" {
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

// Reason is why a policy has its tier.
type Reason struct {
	Tier Tier
	Rule Ref
	Text string // empty for a plain read
}

// TierIn classifies policies: the widest of their rules, with a reason for each rule that allows anything, in the order
// of the text. Each rule counts as if it decided wherever it matches, so it is a bound from above.
func TierIn(policies []Policy) (Tier, []Reason) {
	tier := TierNone
	var reasons []Reason
	for i, p := range policies {
		for j, r := range p.Paths {
			t, why := TierOf(templateAsWildcard(r.Path), r.Capabilities)
			if t == TierNone {
				continue
			}
			tier = max(tier, t)
			reasons = append(reasons, Reason{t, p.ref(i, j), why})
		}
	}
	return tier, reasons
}

// templateAsWildcard writes "+" for a segment that Vault fills in.
func templateAsWildcard(path string) string {
	parts, sels, err := splitTemplates(path)
	if err != nil || len(sels) == 0 {
		return path
	}
	return strings.Join(parts, "+")
}
