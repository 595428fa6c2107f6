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

func TestTierIn(t *testing.T) {
	set := policy(t, `
path "secret/data/{{identity.entity.id}}" { policy = "read" }
path "secret/data/x" { policy = "deny" }
path "{{identity.entity.name}}/x" { capabilities = ["list"] }`)
	tier, reasons := vaultacl.TierIn(set)
	if tier != vaultacl.TierAdmin || len(reasons) != 2 || reasons[0].Tier != vaultacl.TierWrite && reasons[0].Tier != vaultacl.TierRead || reasons[1].Rule.Index != 2 {
		t.Errorf("%v %+v", tier, reasons)
	}
	if tier, reasons := vaultacl.TierIn(nil); tier != vaultacl.TierNone || reasons != nil {
		t.Errorf("nothing has tier %v %v", tier, reasons)
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
	if d := vaultacl.Diff(nil, meant); d.Tier() != vaultacl.TierAdmin || len(d.Gained) != 2 {
		t.Errorf("%+v", d)
	}
	if d := vaultacl.DiffWithin(1, nil, meant); d.Complete || d.Why == "" {
		t.Errorf("complete within one path: %+v", d)
	}
}
