package vaultacl_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const entityName = "identity.entity.name"

func policyOf(t *testing.T, text string) []vaultacl.Policy {
	t.Helper()
	p, err := vaultacl.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return []vaultacl.Policy{p}
}

func TestNamesCanBeAnything(t *testing.T) {
	const name = "{{identity.entity.name}}"
	for _, c := range []struct {
		wide, narrow string
		want         vaultacl.Answer
	}{
		{`path "home/*" { policy = "read" }`, `path "home/` + name + `/*" { policy = "read" }`, vaultacl.Yes},
		{`path "home/*" { policy = "read" }`, `path "home/` + name + `" { policy = "read" }`, vaultacl.Yes},
		{`path "home/*" { policy = "read" }`, `path "/home/` + name + `" { policy = "read" }`, vaultacl.Yes},
		{`path "home/+/*" { policy = "read" }`, `path "home/+` + name + `/x" { policy = "read" }`, vaultacl.Unknown},
		{`path "home/+/*" { policy = "read" }`, `path "home/+/` + name + `/x" { policy = "read" }`, vaultacl.Yes},
		{`path "home/*" { policy = "read" }`, `path "` + name + `/x" { policy = "read" }`, vaultacl.No},
		{`path "*" { policy = "read" }`, `path "` + name + `/x" { policy = "read" }`, vaultacl.Yes},
		{`path "home/*" { policy = "read" }`, `path "home/` + name + `/*" { policy = "write" }`, vaultacl.No},
		// A name "k/../a" or "a/b" takes the path that wide denies.
		{`path "home/*" { policy = "read" } path "home/a/b/c" { policy = "deny" }`, `path "home/` + name + `/c" { policy = "read" }`, vaultacl.Unknown},
		{`path "home/*" { policy = "read" } path "home/` + name + `/*" { policy = "deny" }`, `path "home/` + name + `/c" { policy = "read" }`, vaultacl.No},
		// A name "a" joins two paths into one rule, which gives sudo with read.
		{`path "home/*" { policy = "read" } path "kv/*" { capabilities = ["sudo"] }`,
			`path "home/` + name + `" { policy = "read" } path "home/a" { capabilities = ["sudo"] }`, vaultacl.No},
	} {
		got := vaultacl.Covers(policyOf(t, c.wide), policyOf(t, c.narrow))
		if got.Answer != c.want {
			t.Errorf("%s\ncovers %s\n got %v (%s), want %v", c.wide, c.narrow, got.Answer, got.Why, c.want)
		}
	}
}

// A Yes holds for callers whose name is, or brings, any piece of Vault's grammar.
func TestNamesHoldForCallers(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	one := func(words ...string) string { return words[rng.IntN(len(words))] }
	side := func(names bool) []vaultacl.Policy {
		p := vaultacl.Policy{}
		for range 1 + rng.IntN(3) {
			var segs []string
			for range 1 + rng.IntN(3) {
				s := one("a", "b", "+", "a+", "")
				if names && rng.IntN(3) == 0 {
					s = one("", "a", "+", "/") + "{{" + entityName + "}}" + one("", "a")
				}
				segs = append(segs, s)
			}
			path := strings.Join(segs, "/")
			if rng.IntN(2) == 0 && !strings.HasSuffix(path, "+") {
				path += "*"
			}
			r := vaultacl.PathRule{Path: path, Capabilities: []string{one("read", "read", "list", "deny", "update")}}
			if rng.IntN(4) == 0 {
				r.Capabilities = append(r.Capabilities, "sudo")
			}
			if rng.IntN(5) == 0 {
				r.Allowed = map[string][]any{"x": {one("1", "2")}}
			}
			p.Paths = append(p.Paths, r)
		}
		return []vaultacl.Policy{p}
	}
	values := []string{"", "+", "*", "a", "b", "a/b", "/a", "/", "a/", "+/a", "a/+", "a*", "+*", "/+/b", "x"}
	yes := 0
	for range 20_000 {
		wide, narrow := side(false), side(true)
		wide[0].Paths = append(wide[0].Paths, vaultacl.PathRule{Path: one("a", "b", "+/", "a/", "") + "*", Capabilities: []string{"read", "update", "list", "sudo"}})
		if vaultacl.Covers(wide, narrow).Answer != vaultacl.Yes {
			continue
		}
		yes++
		w := vaultacl.Compile(wide)
		for _, v := range values {
			n := vaultacl.Compile(vaultacl.Fill(narrow, map[string]string{entityName: v}))
			for range 40 {
				var segs []string
				for range 1 + rng.IntN(4) {
					segs = append(segs, one("a", "b", "ab", "+", "x", "", "a+"))
				}
				r := vaultacl.Request{Operation: vaultacl.OpRead, Path: strings.Join(segs, "/"), Sudo: rng.IntN(2) == 0}
				switch rng.IntN(3) {
				case 0:
					r.Operation, r.Path = vaultacl.OpList, r.Path+"/"
				case 1:
					r.Operation, r.Data = vaultacl.OpUpdate, map[string]any{"x": one("1", "2", "3")}
				}
				if strings.Trim(r.Path, "/") == "" {
					continue // no request has an empty path
				}
				if n.Allows(r).Verdict == vaultacl.Allowed && w.Allows(r).Verdict != vaultacl.Allowed {
					t.Fatalf("yes, but %s for the name %q passes one side alone:\n%s\n%s", r, v, printed(t, wide), printed(t, narrow))
				}
			}
		}
	}
	t.Logf("%d times yes", yes)
	if yes < 500 {
		t.Errorf("the cases show little: %d times yes", yes)
	}
}
