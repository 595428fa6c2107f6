package vaultacl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/tier"
)

// Tier is how much harm can be done. The zero value is TierNone: nothing is allowed.
type Tier = tier.Tier

// The tiers, each wider than the one before it.
const (
	TierNone        = tier.None
	TierRead        = tier.Read
	TierWrite       = tier.Write
	TierDestructive = tier.Destructive
	TierAdmin       = tier.Admin
)

// Reserved lists the segments that give a path its meaning to Vault itself, whatever is mounted.
func Reserved() []string { return []string{"sys", "auth", "identity"} }

// TierOf classifies what some capabilities mean on a path, with the reason, which names the path; a read has none.
//
//   - sudo, and any change under sys, auth or identity, or to a role, config or root of an engine, or that makes or signs
//     for an authority, is admin;
//   - delete, and any change under destroy, delete, metadata, trim, revoke, tidy or restore (transit's, which can put one
//     key in another's place), is destructive, and so is reading what hands out keys: a key of transit (export, backup,
//     byok-export), Vault's own snapshot, an OIDC client's secret;
//   - create, update, patch and recover are write, and so is reading a path that makes credentials (creds, sts,
//     static-creds, and each engine's own word: token, key, code, static-cred, authorize);
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
	engine := beforeKV(segs)
	has := func(words ...string) string { return first(segs, words) }
	own := func(words ...string) string { return first(engine, words) }
	wild := wildcards(path)
	if wild[0] {
		set(TierAdmin, "a wildcard for the mount reaches sys")
	}
	if w := has("creds", "sts", "static-creds"); w != "" {
		set(TierWrite, "reading under "+w+" makes credentials")
	}
	if w := own("token", "key", "code", "static-cred", "authorize"); w != "" && reads {
		set(TierWrite, "reading under "+w+" makes credentials")
	}
	if w := own("export", "backup", "byok-export"); w != "" && reads {
		set(TierDestructive, "reading under "+w+" hands out keys")
	}
	if reads && (couldLie(segs, wild, "sys", "storage", "raft") || couldLie(segs, wild, "identity", "oidc", "client")) {
		set(TierDestructive, "reading it hands out secrets")
	}
	open := reachesAny(segs, wild)
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
	if w := own(governing...); w != "" {
		set(TierAdmin, "a change under "+w)
	}
	if w := own("library"); w != "" && own("check-out", "check-in") == "" {
		set(TierAdmin, "a change under "+w)
	}
	if w := has("destroy", "delete", "metadata", "trim"); w != "" {
		set(TierDestructive, "a change under "+w)
	}
	if w := own("revoke", "tidy", "restore"); w != "" {
		set(TierDestructive, "a change under "+w)
	}
	return tier, why
}

// governing are the words of Vault's engines for what decides over the credentials that they make: roles by their several
// names, configuration, and authorities and what signs for them with any name.
var governing = []string{ // read-only
	"role", "roles", "config", "root", "rotate-root", "rotate-role", "static-role", "static-roles",
	"roleset", "rolesets", "static-account", "static-accounts", "impersonated-account", "impersonated-accounts",
	"intermediate", "issuer", "issuers", "sign-verbatim", "sign-intermediate", "sign-self-issued",
}

// beforeKV are the segments before the data or metadata of a KV store: behind it every word is the user's own. The first
// segment is the mount's name, which may be any word.
func beforeKV(segs []string) []string {
	for i, s := range segs {
		if i > 0 && (s == "data" || s == "metadata") {
			return segs[:i]
		}
	}
	return segs
}

// first returns the first segment that is one of the words; empty for none.
func first(segs, words []string) string {
	for _, s := range segs {
		if slices.Contains(words, s) {
			return s
		}
	}
	return ""
}

// couldLie tells whether a path begins with these segments, or has wildcards that could.
func couldLie(segs []string, wild []bool, begin ...string) bool {
	for i, s := range begin {
		switch {
		case i >= len(segs):
			return false
		case wild[i] && strings.HasSuffix(segs[i], "*"): // the last
			return strings.HasPrefix(s, strings.TrimSuffix(segs[i], "*"))
		case !wild[i] && segs[i] != s:
			return false
		}
	}
	return true
}

// reachesAny tells whether a wildcard stands where an engine's own words could.
func reachesAny(segs []string, wild []bool) bool {
	return slices.Contains(wild[:len(beforeKV(segs))], true)
}

// wildcards tells which segments of a path Vault takes for more than their text: the last, if the path ends with "*", and
// a "+" alone. A "*" anywhere else is a star.
func wildcards(path string) []bool {
	p := parsePattern(path)
	out := make([]bool, len(p.parts))
	for i, part := range p.parts {
		out[i] = (p.wild && part == "+") || (p.glob && i == len(p.parts)-1)
	}
	return out
}

// Risk is how much harm policies can do.
type Risk struct {
	Tier    Tier     `json:"tier"`    // the widest of their rules
	Reasons []Reason `json:"reasons"` // one for each rule that allows anything, in the order of the text; empty, not nil
}

// Reason is why a policy has its tier.
type Reason struct {
	Ref // the rule

	Tier Tier   `json:"tier"`
	Text string `json:"reason,omitempty"` // empty for a plain read
}

// String is the reason on one line: "secret/data/*: reads (app.hcl:2)".
func (r Reason) String() string {
	why := strings.TrimPrefix(r.Text, templateAsWildcard(r.Path)+": ")
	return fmt.Sprintf("%s: %s (%s)", r.Path, cmp.Or(why, "reads"), r.Ref)
}

// Assess says how much harm policies can do. Each rule counts as if it decided wherever it matches, so it is a bound from
// above.
func Assess(policies []Policy) Risk {
	out := Risk{Reasons: []Reason{}}
	for i, p := range policies {
		for j, r := range p.Paths {
			if t, why := TierOf(templateAsWildcard(r.Path), r.Capabilities); t != TierNone {
				out.Tier = max(out.Tier, t)
				out.Reasons = append(out.Reasons, Reason{p.ref(i, j), t, why})
			}
		}
	}
	return out
}

// templateAsWildcard writes "+" for a segment that Vault fills in, be it in part, and "*" for one at the end that goes on.
func templateAsWildcard(path string) string {
	parts, sels, err := splitTemplates(path)
	if err != nil || len(sels) == 0 {
		return path
	}
	const filled = "\x00"
	segs := strings.Split(strings.TrimLeft(strings.Join(parts, filled), "/"), "/") // see checkPath
	for i, s := range segs {
		switch {
		case !strings.Contains(s, filled):
		case i == len(segs)-1 && strings.HasSuffix(s, "*"):
			segs[i] = "*"
		default:
			segs[i] = "+"
		}
	}
	return strings.Join(segs, "/")
}
