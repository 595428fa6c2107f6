package vaultacl_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func TestTierOf(t *testing.T) {
	for _, c := range []struct {
		path, caps string
		want       vaultacl.Tier
		why        string
	}{
		{"secret/data/a", "read list", vaultacl.TierRead, ""},
		{"secret/data/a", "", vaultacl.TierNone, ""},
		{"secret/data/a", "deny", vaultacl.TierNone, ""},
		{"secret/data/a", "subscribe", vaultacl.TierRead, ""},
		{"secret/data/a", "patch", vaultacl.TierWrite, "patch"},
		{"secret/data/a", "recover", vaultacl.TierWrite, "recover"},
		{"secret/data/*", "create update", vaultacl.TierWrite, "create"},
		{"secret/data/a", "delete", vaultacl.TierDestructive, "delete"},
		{"secret/destroy/a", "update", vaultacl.TierDestructive, "a change under destroy"},
		{"secret/metadata/a", "update", vaultacl.TierDestructive, "a change under metadata"},
		{"database/creds/r", "read", vaultacl.TierWrite, "reading under creds makes credentials"},
		{"database/*", "read", vaultacl.TierWrite, "the wildcard can reach a path that makes credentials"},
		{"database/*", "update", vaultacl.TierAdmin, "the wildcard can reach an engine's roles and config"},
		{"database/roles/r", "update", vaultacl.TierAdmin, "a change under roles"},
		{"sys/policies/acl/x", "read", vaultacl.TierRead, ""},
		{"sys/policies/acl/x", "update", vaultacl.TierAdmin, "a change under sys"},
		{"+/data/a", "read", vaultacl.TierAdmin, "a wildcard for the mount reaches sys"},
		{"a", "read sudo", vaultacl.TierAdmin, "sudo"},
		// Engines that make credentials under words of their own, by a read.
		{"identity/oidc/token/r", "read", vaultacl.TierWrite, "reading under token makes credentials"},
		{"identity/oidc/provider/p/authorize", "read", vaultacl.TierWrite, "reading under authorize makes credentials"},
		{"gcp/token/r", "read", vaultacl.TierWrite, "reading under token makes credentials"},
		{"gcp/roleset/r/key", "read", vaultacl.TierWrite, "reading under key makes credentials"},
		{"gcp/static-account/a/token", "read", vaultacl.TierWrite, "reading under token makes credentials"},
		{"ldap/static-cred/r", "read", vaultacl.TierWrite, "reading under static-cred makes credentials"},
		{"totp/code/k", "read", vaultacl.TierWrite, "reading under code makes credentials"},
		{"secret/data/ci/token", "read", vaultacl.TierRead, ""}, // a name of a user's
		// Keys themselves.
		{"transit/export/encryption-key/k", "read", vaultacl.TierDestructive, "reading under export hands out keys"},
		{"transit/backup/k", "read", vaultacl.TierDestructive, "reading under backup hands out keys"},
		{"transit/byok-export/to/k", "read", vaultacl.TierDestructive, "reading under byok-export hands out keys"},
		{"sys/storage/raft/snapshot", "read", vaultacl.TierDestructive, "reading it hands out secrets"},
		{"transit/restore/k", "update", vaultacl.TierDestructive, "a change under restore"},
		{"sys/stor*", "read", vaultacl.TierDestructive, "reading it hands out secrets"},
		{"sys/+/raft/snapshot", "read", vaultacl.TierDestructive, "reading it hands out secrets"},
		{"identity/oidc/*", "read", vaultacl.TierDestructive, "reading it hands out secrets"},
		{"identity/entity/*", "read", vaultacl.TierWrite, "the wildcard can reach a path that makes credentials"},
		{"identity/oidc/client/c", "read", vaultacl.TierDestructive, "reading it hands out secrets"},
		// What decides over credentials; a role may have any name.
		{"database/roles/data", "update", vaultacl.TierAdmin, "a change under roles"},
		{"aws/roles/metadata", "update", vaultacl.TierAdmin, "a change under roles"},
		{"database/config/data", "create", vaultacl.TierAdmin, "a change under config"},
		{"data/roles/r", "update", vaultacl.TierAdmin, "a change under roles"},
		{"secret/data/roles/r", "update", vaultacl.TierWrite, "update"},
		{"gcp/roleset/r", "update", vaultacl.TierAdmin, "a change under roleset"},
		{"gcp/impersonated-account/a", "create", vaultacl.TierAdmin, "a change under impersonated-account"},
		{"pki/sign-verbatim/r", "update", vaultacl.TierAdmin, "a change under sign-verbatim"},
		{"pki/root/sign-intermediate", "update", vaultacl.TierAdmin, "a change under root"},
		{"pki/issuers/import/bundle", "update", vaultacl.TierAdmin, "a change under issuers"},
		{"pki/issue/web", "update", vaultacl.TierWrite, "update"},
		{"pki/revoke", "update", vaultacl.TierDestructive, "a change under revoke"},
		{"ldap/library/l", "update", vaultacl.TierAdmin, "a change under library"},
		{"ldap/library/l/check-out", "update", vaultacl.TierWrite, "update"},
	} {
		got, why := vaultacl.TierOf(c.path, strings.Fields(c.caps))
		if c.why != "" {
			c.why = c.path + ": " + c.why
		}
		if got != c.want || why != c.why {
			t.Errorf("%s %s: %v %q, want %v %q", c.path, c.caps, got, why, c.want, c.why)
		}
	}
}

func TestAssess(t *testing.T) {
	set := policy(t, `
path "secret/data/{{identity.entity.id}}" { policy = "read" }
path "secret/data/x" { policy = "deny" }
path "{{identity.entity.name}}/x" { capabilities = ["list"] }`)
	risk := vaultacl.Assess(set)
	if reasons := risk.Reasons; risk.Tier != vaultacl.TierAdmin || len(reasons) != 2 || reasons[0].Tier != vaultacl.TierWrite && reasons[0].Tier != vaultacl.TierRead || reasons[1].Index != 2 {
		t.Errorf("%+v", risk)
	}
	part := policy(t, `path "database/ro{{identity.entity.name}}/r" { capabilities = ["update"] }`)
	if tier := vaultacl.Assess(part).Tier; tier != vaultacl.TierAdmin {
		t.Errorf("a word that Vault fills in in part is %v", tier)
	}
	if tier := vaultacl.Assess(policy(t, `path "/{{identity.entity.name}}/x" { capabilities = ["read"] }`)).Tier; tier != vaultacl.TierAdmin {
		t.Errorf("a mount that Vault fills in behind a slash is %v", tier)
	}
	if risk := vaultacl.Assess(nil); risk.Tier != vaultacl.TierNone || risk.Reasons == nil || len(risk.Reasons) != 0 {
		t.Errorf("nothing has %+v", risk)
	}
}

// A capability more never lowers the tier.
func TestTierGrows(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	w := newWorld()
	for range 2000 {
		path := w.patterns[rng.IntN(len(w.patterns))].path
		var caps []string
		last := vaultacl.TierNone
		for _, i := range rng.Perm(7) {
			caps = append(caps, vaultacl.Capabilities()[i])
			tier, _ := vaultacl.TierOf(path, caps)
			if tier < last {
				t.Fatalf("%s %v: %v after %v", path, caps, tier, last)
			}
			last = tier
		}
	}
}

// The first match decides about a read.
func TestMatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	w := newWorld()
	several := 0
	for range 20_000 {
		acl := vaultacl.Compile(w.side(rng).policies())
		path := w.paths[rng.IntN(len(w.paths))]
		d := acl.Allows(vaultacl.Request{Operation: vaultacl.OpRead, Path: path})
		m := acl.Matches(path)
		if len(m) > 1 {
			several++
		}
		if (len(m) > 0) != (d.Path != "") || len(m) > 0 && (m[0].Path != d.Path || !slices.Equal(m[0].Rules, d.Rules)) {
			t.Fatalf("%s: %+v, but %+v decides", path, m, d)
		}
	}
	if several < 100 {
		t.Errorf("only %d with several", several)
	}
	if _, ok := vaultacl.Compile(nil).ListMatch("a/"); ok {
		t.Error("a match of nothing")
	}
}

// What the broker writes to Vault reads back as what it meant.
func TestFromRules(t *testing.T) {
	rules := []vaultacl.Rule{{Path: "kv/+/a", Capabilities: []string{"update", "read"}}, {Path: "secret/data/*", Capabilities: []string{"list"}}}
	back := policy(t, vaultacl.Print(rules))
	meant := []vaultacl.Policy{vaultacl.FromRules("vk-x", rules)}
	if vaultacl.Covers(back, meant).Answer != vaultacl.Yes || vaultacl.Covers(meant, back).Answer != vaultacl.Yes {
		t.Errorf("%+v is not %+v", back, meant)
	}
	if d := vaultacl.Diff(nil, meant); d.Empty() || !vaultacl.Diff(meant, meant).Empty() || d.Tier() != vaultacl.TierAdmin || len(d.Gained) != 2 {
		t.Errorf("%+v", d)
	}
	if d := vaultacl.DiffWithin(1, nil, meant); d.Complete || d.Why == "" {
		t.Errorf("complete within one path: %+v", d)
	}
}

// A "*" that does not end a path is a star, and a "+" beside other characters is a plus.
func TestTierOfLiteralWildcards(t *testing.T) {
	for path, want := range map[string]vaultacl.Tier{
		"*/data/a": vaultacl.TierRead, "*/data/*": vaultacl.TierRead, "a+/data/x": vaultacl.TierRead, "*": vaultacl.TierAdmin, "+/data/x": vaultacl.TierAdmin,
		"s*": vaultacl.TierAdmin, "*/sth/*": vaultacl.TierWrite,
	} {
		if got, why := vaultacl.TierOf(path, []string{"read"}); got != want {
			t.Errorf("%s: %s (%s), want %s", path, got, why, want)
		}
	}
}

func TestByteOrderMark(t *testing.T) {
	_, err := vaultacl.Parse([]byte("\uFEFFpath \"a\" { capabilities = [\"read\"] }"))
	if err == nil || !strings.Contains(err.Error(), "byte order mark") {
		t.Errorf("%v", err)
	}
}
