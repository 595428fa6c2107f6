package vaultacl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/hcl"

	"github.com/valetkey/valetkey/scopes/jcs"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func TestPrint(t *testing.T) {
	got := vaultacl.Print([]vaultacl.Rule{{"secret/data/b/*", []string{"read", "list", "read"}}, {"kv/+/a", []string{"update"}}})
	want := "path \"kv/+/a\" {\n  capabilities = [\"update\"]\n}\npath \"secret/data/b/*\" {\n  capabilities = [\"list\", \"read\"]\n}\n"
	if got != want {
		t.Errorf("got %s", got)
	}
}

// Rules in every character that a path may have are what encoding/json and RFC 8785 make of them; all others are refused.
func TestAppendJCS(t *testing.T) {
	taken := 0
	for c := range rune(0x180) {
		rules := []vaultacl.Rule{{"b/x" + string(c) + "y", []string{"read", "list", "read"}}, {"a/*", []string{"update"}}}
		got, err := vaultacl.AppendJCS([]byte("x"), rules)
		if refused := vaultacl.Validate(rules); (refused == nil) != (err == nil) {
			t.Fatalf("%q: %v, and Validate says %v", c, err, refused)
		}
		if err != nil {
			continue
		}
		taken++
		if want, err := jcs.Marshal(vaultacl.Canonical(rules)); err != nil || string(got) != "x"+string(want) {
			t.Errorf("%q: got  %s\nwant x%s, %v", c, got, want, err)
		}
	}
	if taken < 70 {
		t.Errorf("only %d characters are taken", taken)
	}
	if got, err := vaultacl.AppendJCS(nil, nil); err == nil {
		t.Errorf("no rules print %s", got)
	}
}

func TestValidate(t *testing.T) {
	read := []string{"read"}
	for _, path := range []string{"", "/a", "a//b", "a*b", "*/a", "a/../b", "a/./b", "a+b", "a/b+/c", "a/+*", "a\"b", "a\nb", "a\\b", "a{{x}}", "a b", "a/é", "${x}"} {
		rules := []vaultacl.Rule{{path, read}}
		if err := vaultacl.Validate(rules); !errors.Is(err, vaultacl.ErrPolicy) {
			t.Errorf("%q: %v", path, err)
		}
		if got := vaultacl.Print(rules); got != "" {
			t.Errorf("%q printed %q", path, got)
		}
	}
	for name, rules := range map[string][]vaultacl.Rule{
		"none": nil, "no capabilities": {{"a", nil}}, "unknown capability": {{"a", []string{"reed"}}}, "deny": {{"a", []string{"deny"}}},
		"twice": {{"a", read}, {"a", read}},
	} {
		if err := vaultacl.Validate(rules); !errors.Is(err, vaultacl.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Vault's own HCL parser reads back exactly the path that was validated.
func FuzzPrint(f *testing.F) {
	f.Add("secret/data/team/*")
	f.Add("a\" {}\npath \"*")
	f.Add("kv/+/x")
	f.Fuzz(func(t *testing.T, path string) {
		text := vaultacl.Print([]vaultacl.Rule{{path, []string{"read"}}})
		if text == "" {
			return
		}
		var out struct {
			Path map[string]struct{ Capabilities []string } `hcl:"path"`
		}
		if err := hcl.Decode(&out, text); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if r, ok := out.Path[path]; !ok || len(out.Path) != 1 || strings.Join(r.Capabilities, ",") != "read" {
			t.Fatalf("%q came back as %v", path, out.Path)
		}
	})
}
