package vault_test

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Vault's own answers about random policies are those of the library.
func TestVaultACLCapabilities(t *testing.T) {
	w := newACLWorld(t)
	checked, allowed := 0, 0
	for range 100 {
		set, names := w.policies(false)
		auth := w.token(names)
		seen := map[string]bool{}
		for range 60 {
			seen[w.path(false)] = true
		}
		for _, p := range set {
			for _, r := range p.Paths { // patterns as paths, too: a "+" can be meant as a plus
				seen[r.Path] = true
			}
		}
		acl := vaultacl.Compile(set)
		for path, want := range w.capabilities(auth, slices.Sorted(maps.Keys(seen))) {
			checked++
			if want[0] != "deny" {
				allowed++
			}
			if got := acl.Capabilities(path); !reflect.DeepEqual(got, want) {
				t.Errorf("%q: got %v, Vault says %v, under\n%s", path, got, want, texts(t, set))
			}
		}
	}
	t.Logf("%d answers, %d of them allow something", checked, allowed)
	if checked < 3000 || allowed < checked/5 || allowed > checked*4/5 {
		t.Errorf("the cases show little: %d answers, %d allow", checked, allowed)
	}
}

// Real calls pass and fail as the library says, with parameters and wrapping.
func TestVaultACLCalls(t *testing.T) {
	w := newACLWorld(t)
	total, passed := 0, 0
	for range 120 {
		set, names := w.policies(true)
		// Most calls meet a rule that several policies have, with limits of their own to be merged.
		for range 1 + w.rng.IntN(3) {
			r := w.rule(true)
			r.Path, r.Capabilities = "kv/*", []string{"create", "delete", "list", "read", "update"}
			set = append(set, vaultacl.Policy{Paths: []vaultacl.PathRule{r}})
			names = append(names, w.policy(set[len(set)-1]))
		}
		token := w.token(names).ClientToken
		for range 10 {
			r := w.request()
			switch r.Operation { // which of the two a write is depends on what is there
			case vaultacl.OpUpdate:
				w.write(r.Path, map[string]any{"k": "v"})
			case vaultacl.OpCreate:
				if _, err := w.root.Logical().DeleteWithContext(t.Context(), r.Path); err != nil {
					t.Fatal(err)
				}
			default:
			}
			if len(r.Data) == 0 && (r.Operation == vaultacl.OpUpdate || r.Operation == vaultacl.OpCreate) {
				r.Data = map[string]any{"x": "a"} // KV refuses an empty write
			}
			d := vaultacl.Allows(set, r)
			total++
			got := w.call(token, r)
			if got {
				passed++
			}
			if got != (d.Verdict == vaultacl.Allowed) {
				t.Errorf("%s: Vault says %v, the library %v: %s, under\n%s", r, got, d.Verdict, d.Why, texts(t, set))
			}
		}
	}
	t.Logf("%d calls, %d passed", total, passed)
	if passed < total/5 || passed > total*4/5 {
		t.Errorf("the cases show little: %d calls, %d passed", total, passed)
	}
}

// Corners that chance seldom meets; want is what Vault does, and the library is held to it too.
func TestVaultACLCorners(t *testing.T) {
	w := newACLWorld(t)
	w.write("kv/a", map[string]any{"k": "v"})
	for _, c := range []struct {
		name     string
		policies []string // the inside of a stanza for kv/a
		request  vaultacl.Request
		want     bool
	}{
		{"a denied part of a text", []string{`denied_parameters={x=["b"]}`}, vaultacl.Request{Data: map[string]any{"x": "a, b"}}, false},
		{"a denied part of a list", []string{`denied_parameters={x=["b"]}`}, vaultacl.Request{Data: map[string]any{"x": []any{"a", "b"}}}, false},
		{"no denied part", []string{`denied_parameters={x=["b"]}`}, vaultacl.Request{Data: map[string]any{"x": "a,ab"}}, true},
		{"all parts allowed", []string{`allowed_parameters={x=["a","b"]}`}, vaultacl.Request{Data: map[string]any{"x": "a, b"}}, true},
		{"an empty text is no part", []string{`allowed_parameters={x=["a"]}`}, vaultacl.Request{Data: map[string]any{"x": ""}}, true},
		{"a number equals no number", []string{`allowed_parameters={x=[5]}`}, vaultacl.Request{Data: map[string]any{"x": 5}}, false},
		{"a number denies no number", []string{`denied_parameters={x=[5]}`}, vaultacl.Request{Data: map[string]any{"x": 5}}, true},
		{"a star alone is a star", []string{`allowed_parameters={x=["*"]}`}, vaultacl.Request{Data: map[string]any{"x": "a"}}, false},
		{"a parameter's name has no case", []string{`allowed_parameters={X=["a"]}`}, vaultacl.Request{Data: map[string]any{"x": "a"}}, true},
		{"but is required in lower case", []string{`required_parameters=["X"]`}, vaultacl.Request{Data: map[string]any{"X": "a"}}, false},
		{"limits are not lifted", []string{`allowed_parameters={x=["a"]}`, ``}, vaultacl.Request{Data: map[string]any{"y": "a"}}, false},
		{"the lesser minimum", []string{`min_wrapping_ttl="1m"`, `min_wrapping_ttl="2m"`}, vaultacl.Request{Operation: vaultacl.OpRead, WrapTTL: 90 * time.Second}, true},
		{"the lesser minimum, reversed", []string{`min_wrapping_ttl="2m"`, `min_wrapping_ttl="1m"`}, vaultacl.Request{Operation: vaultacl.OpRead, WrapTTL: 90 * time.Second}, true},
		{"the lesser maximum", []string{`max_wrapping_ttl="1m"`, `max_wrapping_ttl="2m"`}, vaultacl.Request{Operation: vaultacl.OpRead, WrapTTL: 90 * time.Second}, false},
		{"limits that cross", []string{`min_wrapping_ttl="2m"`, `max_wrapping_ttl="1m"`}, vaultacl.Request{Operation: vaultacl.OpRead, WrapTTL: 90 * time.Second}, false},
		{"deny beats all", []string{``, `policy="deny"`}, vaultacl.Request{Operation: vaultacl.OpRead}, false},
		{"every parameter denied, none sent", []string{`denied_parameters={"*"=[]}`}, vaultacl.Request{Operation: vaultacl.OpRead}, true},
		{"lists have no parameters", []string{`denied_parameters={"*"=[]} required_parameters=["x"]`}, vaultacl.Request{Operation: vaultacl.OpDelete}, true},
	} {
		var set []vaultacl.Policy
		var names []string
		for _, inside := range c.policies {
			p, err := vaultacl.Parse([]byte(`path "kv/a" { capabilities=["read","update","delete"] ` + inside + ` }`))
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			set, names = append(set, p), append(names, w.policy(p))
		}
		r := c.request
		r.Path, r.Operation = "kv/a", cmp.Or(r.Operation, vaultacl.OpUpdate)
		if got := w.call(w.token(names).ClientToken, r); got != c.want {
			t.Errorf("%s: Vault says %v", c.name, got)
		}
		if d := vaultacl.Allows(set, r); (d.Verdict == vaultacl.Allowed) != c.want {
			t.Errorf("%s: the library says %v: %s", c.name, d.Verdict, d.Why)
		}
		w.write("kv/a", map[string]any{"k": "v"})
	}
}

// Templates are filled as Fill does, and a token without an entity has no such path.
func TestVaultACLTemplates(t *testing.T) {
	w := newACLWorld(t)
	p, err := vaultacl.Parse([]byte(`
path "kv/{{identity.entity.id}}/*"             { capabilities = ["read"] }
path "kv/{{ identity.entity.name }}"           { capabilities = ["update"] }
path "kv/{{identity.groups.names.g.id}}"       { capabilities = ["list"] }
path "kv/{{identity.entity.metadata.wild}}"    { capabilities = ["delete"] }
path "kv/+/b"                                  { capabilities = ["create"] }`))
	if err != nil {
		t.Fatal(err)
	}
	set, names := []vaultacl.Policy{p}, []string{w.policy(p)}
	w.write("sys/auth/userpass", map[string]any{"type": "userpass"})
	w.write("auth/userpass/users/u", map[string]any{"password": "p", "token_policies": names, "token_no_default_policy": true})
	auths, err := w.root.Sys().ListAuthWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, _ := w.write("identity/entity", map[string]any{"name": "ab", "metadata": map[string]any{"wild": "c/*"}}).Data["id"].(string)
	w.write("identity/entity-alias", map[string]any{"name": "u", "canonical_id": id, "mount_accessor": auths["userpass/"].Accessor})
	login := w.write("auth/userpass/login/u", map[string]any{"password": "p"}).Auth

	paths := []string{"kv/" + id + "/x", "kv/" + id + "/b", "kv/ab", "kv/ab/b", "kv/c/d", "kv/c/b", "kv/g"}
	full := vaultacl.Compile(vaultacl.Fill(set, map[string]string{
		"identity.entity.id": id, "identity.entity.name": "ab", "identity.entity.metadata.wild": "c/*",
	}))
	none := vaultacl.Compile(vaultacl.Fill(set, nil))
	for _, c := range []struct {
		name string
		auth *api.SecretAuth
		acl  *vaultacl.ACL
	}{{"entity", login, full}, {"no entity", w.token(names), none}} {
		for path, want := range w.capabilities(c.auth, paths) {
			if got := c.acl.Capabilities(path); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %q: got %v, Vault says %v", c.name, path, got, want)
			}
		}
	}
}

// An empty segment comes in behind an escape, though a plain one is cleaned away: so Covers counts such paths.
func TestVaultACLEmptySegment(t *testing.T) {
	w := newACLWorld(t)
	for rule, want := range map[string]bool{"kv//a": true, "kv/a": false, "kv/+/a": true, "kv/*": true} {
		set := []vaultacl.Policy{{Paths: []vaultacl.PathRule{{Path: rule, Capabilities: []string{"read"}}}}}
		token := w.token([]string{w.policy(set[0])}).ClientToken
		got := w.call(token, vaultacl.Request{Operation: vaultacl.OpRead, Path: "kv/%2fa"})
		d := vaultacl.Allows(set, vaultacl.Request{Operation: vaultacl.OpRead, Path: "kv//a"})
		if got != want || (d.Verdict == vaultacl.Allowed) != want {
			t.Errorf("%q: Vault says %v, the library %v", rule, got, d.Verdict)
		}
	}
}

// Paths that are odd to HCL or to Vault are what Vault takes them for, as written and as printed.
func TestVaultACLOddPaths(t *testing.T) {
	w := newACLWorld(t)
	paths := []string{"kv/${x}", "kv/x", "kv/${x", "kv/a", "/kv/a", "//kv/a", "kv//a", `kv/${"q"}`, `kv/${\"q\"}`, "kv/q"}
	allowed := 0
	for _, text := range []string{
		`path "kv/${x}" { policy = "read" }`, `path "kv/${\"q\"}" { policy = "read" }`, `path "kv/\u0024{x" { policy = "read" }`,
		`path "kv/$${x}" { policy = "read" }`, `path "//kv/a" { policy = "read" }`, `path "//*" { policy = "read" }`,
		`path "//+" { policy = "read" }`, `path "/kv/a" { policy = "read" }`, `path "kv//a" { policy = "read" }`,
		`{"path": {"kv/${x": {"policy": "read"}}}`,
	} {
		p, err := vaultacl.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		w.write("sys/policies/acl/odd", map[string]any{"policy": text})
		for _, name := range []string{"odd", w.policy(p)} {
			for path, want := range w.capabilities(w.token([]string{name}), paths) {
				if want[0] != "deny" {
					allowed++
				}
				if got := vaultacl.CapabilitiesAt([]vaultacl.Policy{p}, path); !reflect.DeepEqual(got, want) {
					t.Errorf("%s as %q: %q: got %v, Vault says %v", text, name, path, got, want)
				}
			}
		}
	}
	if allowed < 12 {
		t.Errorf("the cases show little: %d allow", allowed)
	}
}

// A name's own wildcards and slashes are the policy's in Vault 1.21, and a "+*" that comes about stops the whole token.
func TestVaultACLNamesWithWildcards(t *testing.T) {
	w := newACLWorld(t)
	p, err := vaultacl.Parse([]byte(`
path "kv/{{identity.entity.name}}/x" { capabilities = ["read"] }
path "{{identity.entity.name}}/q"    { capabilities = ["update"] }
path "/{{identity.entity.name}}/z"   { capabilities = ["list"] }
path "m/{{identity.entity.metadata.k}}" { capabilities = ["read"] }
path "other"                         { capabilities = ["delete"] }`))
	if err != nil {
		t.Fatal(err)
	}
	set, names := []vaultacl.Policy{p}, []string{w.policy(p)}
	w.write("sys/auth/userpass", map[string]any{"type": "userpass"})
	auths, err := w.root.Sys().ListAuthWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"+", "*", "x*", "a/b", "/s", "//s", "a/+", "..", "+*", "{{identity.entity.id}}"} {
		user := fmt.Sprintf("u%d", i)
		w.write("auth/userpass/users/"+user, map[string]any{"password": "p", "token_policies": names, "token_no_default_policy": true})
		id, _ := w.write("identity/entity", map[string]any{"name": name, "metadata": map[string]any{"k": ""}}).Data["id"].(string)
		w.write("identity/entity-alias", map[string]any{"name": user, "canonical_id": id, "mount_accessor": auths["userpass/"].Accessor})
		auth := w.write("auth/userpass/login/"+user, map[string]any{"password": "p"}).Auth
		acl := vaultacl.Compile(vaultacl.Fill(set, map[string]string{"identity.entity.name": name, "identity.entity.metadata.k": ""}))
		paths := []string{"kv/a/x", "kv/a/b/x", "kv/" + name + "/x", "kv//s/x", name + "/q", "a/q", "s/q", "s/z", "/s/z", "a/z", "m/", "m", "other"}
		if strings.Contains(name, "+*") {
			_, err := w.root.Logical().WriteWithContext(t.Context(), "sys/capabilities", map[string]any{"token": auth.ClientToken, "paths": paths})
			if err == nil || !strings.Contains(err.Error(), "+*") || acl.Capabilities("other")[0] != "deny" {
				t.Errorf("%q: Vault says %v, here %v", name, err, acl.Capabilities("other"))
			}
			continue
		}
		for path, want := range w.capabilities(auth, paths) {
			if got := acl.Capabilities(path); !reflect.DeepEqual(got, want) {
				t.Errorf("%q: %q: got %v, Vault says %v", name, path, got, want)
			}
		}
	}
}

// What Parse reads, Vault takes; what Vault takes and Parse does not is listed here.
func TestVaultACLTexts(t *testing.T) {
	w := newACLWorld(t)
	for _, c := range []struct {
		text         string
		vault, parse bool
	}{
		{`path "a" { capabilities = ["read"] }`, true, true},
		{`{"path": {"a": {"capabilities": ["read"]}}}`, true, true},
		{`path "/a" { policy = "write" comment = "x" }`, true, true},
		{`path "a" {} path "a" {}`, true, true},
		{`name = "x" path "a" { capabilities = ["read"] }`, true, true},
		{`path "a" { capabilities = "read" }`, false, false},
		{`path "a" { allowed_parameters { x = "y" } }`, false, false},
		{`path "a" { min_wrapping_ttl = 5 max_wrapping_ttl = "1d" }`, true, true},
		{`path "a" { allowed_parameters { x = ["y"] } mfa_methods = ["duo"] subscribe_event_types = ["*"] }`, true, true},
		{`path "a/{{ identity.entity.id }}" { policy = "" }`, true, true},
		{"path \"a\" { comment = <<EOT\nx\nEOT\n}", true, true},
		{`path "//a" {}`, true, true},
		{`path "a/${x}" {}`, true, true},
		{`path "a/${x" {}`, false, false},
		{`path "a" { capabilities = ["reed"] }`, false, false},
		{`path "a" { capabilites = ["read"] }`, false, false},
		{`paths "a" {}`, false, false},
		{`path "a" { policy = "admin" }`, false, false},
		{`path "a" { policy = "read" policy = "deny" }`, false, false},
		{`path "a/+*" {}`, false, false},
		{`path "a/{{x" {}`, false, false},
		{`path "a" { min_wrapping_ttl = "5m" max_wrapping_ttl = "1m" }`, false, false},
		{`path "a" { min_wrapping_ttl = "soon" }`, false, false},
		{`path "a" { control_group = {} }`, false, false},
		// Refused here alone: Vault drops or guesses something.
		{`path "a" "b" {}`, true, false},
		{`path "a/{{entity.id}}" {}`, true, false},
		{`path "a" { denied_parameters { x = [] } denied_parameters { y = [] } }`, true, false},
		{`path "a" { allowed_parameters = { X = [] x = [1] } }`, true, false},
		{`path "a" { allowed_parameters = { x = [["a"]] } }`, true, false},
		{`path "a" { min_wrapping_ttl = "-5m" }`, true, false},
		{`path "a" { control_group = { factor "f" { identity { group_names = ["g"] approvals = 1 } } } }`, true, false},
	} {
		_, err := w.root.Logical().WriteWithContext(t.Context(), "sys/policies/acl/text", map[string]any{"policy": c.text})
		if (err == nil) != c.vault {
			t.Errorf("%s\nVault says %v", c.text, err)
		}
		if _, err := vaultacl.Parse([]byte(c.text)); (err == nil) != c.parse {
			t.Errorf("%s\nParse says %v", c.text, err)
		}
	}
}
