package vaultacl_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func policy(t testing.TB, text string) []vaultacl.Policy {
	t.Helper()
	p, err := vaultacl.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return []vaultacl.Policy{p}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		name, wide, narrow string
		want               vaultacl.Answer
		witness            string
	}{
		{"prefix over exact", `path "kv/*" {capabilities=["read"]}`, `path "kv/a" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"exact under prefix", `path "kv/a" {capabilities=["read"]}`, `path "kv/*" {capabilities=["read"]}`, vaultacl.No, "read kv/x"},
		{"a deny in the middle", `path "kv/*" {capabilities=["read"]}
			path "kv/secret/*" {capabilities=["deny"]}`, `path "kv/*" {capabilities=["read"]}`, vaultacl.No, "read kv/secret/x"},
		{"plus and star together are a star", `path "kv/+" {capabilities=["read"]}
			path "kv/+/*" {capabilities=["read"]}`, `path "kv/*" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"plus is one segment", `path "kv/+" {capabilities=["read"]}`, `path "kv/*" {capabilities=["read"]}`, vaultacl.No, "read kv/x/x"},
		{"more specific wins, though it gives less", `path "kv/*" {capabilities=["read","delete"]}
			path "kv/+/b" {capabilities=["read"]}`, `path "kv/+/b" {capabilities=["delete"]}`, vaultacl.No, "delete kv/x/b"},
		{"list with its slash", `path "kv/a/" {capabilities=["list"]}`, `path "kv/a" {capabilities=["list"]}`, vaultacl.Yes, ""},
		{"read has no such rule", `path "kv/a/" {capabilities=["read"]}`, `path "kv/a" {capabilities=["read"]}`, vaultacl.No, "read kv/a"},
		{"sudo", `path "kv/*" {capabilities=["read"]}`, `path "kv/a" {capabilities=["read","sudo"]}`, vaultacl.No, "read kv/a where sudo is needed"},
		{"parameters", `path "kv/a" {capabilities=["update"] allowed_parameters={"x"=["a*"]}}`,
			`path "kv/a" {capabilities=["update"] allowed_parameters={"x"=["ab","ac*"]}}`, vaultacl.Yes, ""},
		{"parameters the other way", `path "kv/a" {capabilities=["update"] allowed_parameters={"x"=["ab","ac*"]}}`,
			`path "kv/a" {capabilities=["update"] allowed_parameters={"x"=["a*"]}}`, vaultacl.No, `update kv/a with {"x":"ax"}`},
		{"no limits", `path "kv/a" {capabilities=["update"] denied_parameters={"x"=["1"]}}`,
			`path "kv/a" {capabilities=["update"]}`, vaultacl.No, `update kv/a with {"x":"1"}`},
		{"required", `path "kv/a" {capabilities=["update"] required_parameters=["x"]}`,
			`path "kv/a" {capabilities=["update"]}`, vaultacl.No, `update kv/a`},
		{"wrapping", `path "kv/a" {capabilities=["read"] max_wrapping_ttl="5m"}`,
			`path "kv/a" {capabilities=["read"] min_wrapping_ttl="1m"}`, vaultacl.No, `read kv/a wrapped for 5m1s`},
		{"the same template", `path "kv/{{identity.entity.id}}/*" {capabilities=["read","list"]}`,
			`path "kv/{{ identity.entity.id }}/*" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"a name can be anything", `path "kv/{{identity.entity.name}}/*" {capabilities=["read","list"]}`,
			`path "kv/{{identity.entity.name}}/*" {capabilities=["read"]}`, vaultacl.Unknown, ""},
		{"all that begins like it", `path "home/*" {capabilities=["read","list"]}`,
			`path "home/{{identity.entity.name}}/*" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"all that begins like several", `path "home/*" {capabilities=["update"]}
			path "kv/a" {capabilities=["read"]}`, `path "home/x/{{identity.entity.metadata.a}}" {capabilities=["update"] required_parameters=["x"]}
			path "kv/a" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"not what it denies among that", `path "home/*" {capabilities=["read"]}
			path "home/x/*" {capabilities=["deny"]}`, `path "home/{{identity.entity.name}}/*" {capabilities=["read"]}`, vaultacl.No, "read home/x/y"},
		{"nor another capability", `path "home/*" {capabilities=["read"]}`,
			`path "home/{{identity.entity.name}}/*" {capabilities=["read","list"]}`, vaultacl.No, "list home/vx/"},
		{"nor one segment", `path "home/+/*" {capabilities=["read"]}`,
			`path "home/{{identity.entity.name}}" {capabilities=["read"]}`, vaultacl.No, "read home/vx"},
		{"nor sudo beside it", `path "home/*" {capabilities=["read"]}`,
			`path "home/{{identity.entity.name}}" {capabilities=["sudo"]}
			path "home/{{identity.entity.name}}" {capabilities=["read"]}`, vaultacl.No, "read home/vx where sudo is needed"},
		{"an id can begin like another path", `path "kv/*" {capabilities=["read"]}
			path "kv/a*" {capabilities=["deny"]}`, `path "kv/{{identity.entity.id}}" {capabilities=["read"]}`, vaultacl.No,
			"read kv/aeeeeeee-eeee-eeee-eeee-eeeeeeee0000"},
		{"two ids differ", `path "kv/{{identity.entity.id}}" {capabilities=["read"]}`,
			`path "kv/{{identity.groups.names.g.id}}" {capabilities=["read"]}`, vaultacl.No, "read kv/eeeeeeee-eeee-eeee-eeee-eeeeeeee0001"},
		{"a group by its id", `path "kv/e2000000-0000-0000-0000-000000000000" {capabilities=["read"]}`,
			`path "kv/{{identity.groups.ids.e2000000-0000-0000-0000-000000000000.id}}" {capabilities=["read"]}`, vaultacl.Yes, ""},
		{"a group by its name may be the one of that id", `path "kv/*" {capabilities=["read"]}
			path "kv/{{identity.groups.ids.e2000000-0000-0000-0000-000000000000.id}}" {capabilities=["deny"]}`,
			`path "kv/{{identity.groups.names.g.id}}" {capabilities=["read"]}`, vaultacl.No,
			"read kv/e2000000-0000-0000-0000-000000000000"},
		{"two templates in one segment", `path "kv/+" {capabilities=["read"]}`,
			`path "kv/{{identity.entity.id}}-{{identity.groups.names.g.id}}" {capabilities=["read"]}`, vaultacl.Unknown, ""},
		{"another factor", `path "kv/a" {capabilities=["read"] mfa_methods=["duo"]}`, `path "kv/a" {capabilities=["read"]}`, vaultacl.Unknown, ""},
		{"the same factor", `path "kv/*" {capabilities=["read"] mfa_methods=["duo"]}`,
			`path "kv/a" {capabilities=["read"] mfa_methods=["duo", "totp"]}`, vaultacl.Yes, ""},
		{"a rule that takes nothing", ``, `path "kv/a" {capabilities=["update"] required_parameters=["x"] denied_parameters={"*"=[]}}`, vaultacl.Yes, ""},
		{"empty covers empty", ``, `path "kv/a" {capabilities=["deny"]}`, vaultacl.Yes, ""},
		{"an empty segment", `path "kv/a" {capabilities=["read"]}`, `path "kv//a" {capabilities=["read"]}`, vaultacl.No, "read kv//a"},
		{"a list has one slash at its end", `path "kv/a" {capabilities=["list"]}`, `path "kv/a/" {capabilities=["list"]}`, vaultacl.No, "list kv/a//"},
		{"no path begins with a slash", ``, `path "" {capabilities=["read"]}`, vaultacl.Yes, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			wide, narrow := policy(t, c.wide), policy(t, c.narrow)
			got := vaultacl.Covers(wide, narrow)
			if got.Answer != c.want {
				t.Fatalf("%v %s %v", got.Answer, got.Why, got.Witness)
			}
			if got.Witness != nil {
				if asked, _, _ := strings.Cut(got.Witness.String(), " for a caller with "); asked != c.witness {
					t.Errorf("witness %q, want %q", got.Witness, c.witness)
				}
				if vaultacl.Allows(narrow, *got.Witness).Verdict != vaultacl.Allowed ||
					vaultacl.Allows(wide, *got.Witness).Verdict == vaultacl.Allowed {
					t.Error("the witness does not hold")
				}
			}
			if (got.Answer == vaultacl.Unknown) != (got.Why != "") {
				t.Errorf("why %q", got.Why)
			}
		})
	}
}
