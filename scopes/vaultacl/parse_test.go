package vaultacl_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

const everything = `
# A policy with all that there is.
name = "ignored"
path "/secret/data/+/app*" {
  comment             = "the app's"
  capabilities        = ["update", "read", "read"]
  policy              = "read"
  allowed_parameters  = { "Data" = [], other = ["a*", true, 5, 1.5], "*" = [] }
  denied_parameters { "x" = ["one"] }
  required_parameters = ["data"]
  min_wrapping_ttl    = 5
  max_wrapping_ttl    = "1d"
  mfa_methods         = ["duo"]
  subscribe_event_types = ["kv*"]
}
path "kv/{{ identity.entity.id }}/*" { policy = "sudo" }
path "old" { policy = "write" capabilities = ["deny"] allowed_parameters = { x = [] } }
path "kv/{{identity.entity.id}}/*" { capabilities = ["list"] }
path "" {}
`

// plain drops what the text does not carry.
func plain(p vaultacl.Policy) vaultacl.Policy {
	for i := range p.Paths {
		p.Paths[i].Pos = vaultacl.Pos{}
	}
	return p
}

func TestParseEverything(t *testing.T) {
	p, err := vaultacl.Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Paths) != 5 || p.Paths[0].Pos != (vaultacl.Pos{Line: 4, Column: 6}) {
		t.Fatalf("%+v", p)
	}
	if r := p.Paths[2]; !reflect.DeepEqual(r.Capabilities, []string{"deny"}) || r.Allowed != nil {
		t.Errorf("deny stands alone: %+v", r)
	}
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const want = `path "secret/data/+/app*" {
  comment = "the app's"
  capabilities = ["list", "read", "update"]
  allowed_parameters = {
    "*" = []
    "data" = []
    "other" = ["a*", true, 5, 1.5]
  }
  denied_parameters = {
    "x" = ["one"]
  }
  required_parameters = ["data"]
  mfa_methods = ["duo"]
  subscribe_event_types = ["kv*"]
  min_wrapping_ttl = "5s"
  max_wrapping_ttl = "24h0m0s"
}

path "kv/{{identity.entity.id}}/*" {
  capabilities = ["create", "delete", "list", "read", "sudo", "update"]
}

path "old" {
  capabilities = ["deny"]
}
`
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("got\n%s", text)
	}
	again, err := vaultacl.Parse(text)
	if err != nil || !reflect.DeepEqual(plain(again), plain(p)) {
		t.Errorf("%v: %+v is not %+v", err, again, p)
	}
}

func TestParseJSON(t *testing.T) {
	p, err := vaultacl.Parse([]byte(`{"path": {"kv/a": {"capabilities": ["read"]}, "kv/b\u002f*": {"policy": "deny"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Paths) != 2 || p.Paths[1].Path != "kv/b/*" || p.Paths[1].Capabilities[0] != "deny" {
		t.Errorf("%+v", p)
	}
}

// What Vault takes as it stands is taken, and printed so that Vault reads it again.
func TestParseOddPaths(t *testing.T) {
	for text, want := range map[string]string{
		`path "a/${x}" {}`:                     "a/${x}",
		`path "a/${\"x\"}" {}`:                 `a/${\"x\"}`,
		`path "a/\u0024{x" {}`:                 "a/${x",
		`{"path": {"a/${x": {}}}`:              "a/${x",
		`path "/a" {}`:                         "a",
		`path "//a" {}`:                        "/a",
		`path "b//a" {}`:                       "b//a",
		`path "/{{identity.entity.name}}" {}`:  "/{{identity.entity.name}}",
		`path "/x{{identity.entity.name}}" {}`: "x{{identity.entity.name}}",
	} {
		p, err := vaultacl.Parse([]byte(text))
		if err != nil || p.Paths[0].Path != want {
			t.Errorf("%s: %v, %+v", text, err, p.Paths)
			continue
		}
		out, err := p.Marshal()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		again, err := vaultacl.Parse(out)
		if err != nil || again.Paths[0].Path != want {
			t.Errorf("%s became %s: %v, %+v", text, out, err, again.Paths)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`path "a" { capabilities = ["reed"] }`:        "1:28: unknown capability",
		"path \"a\" {\n  capabilites = [\"read\"]\n}": `2:3: unknown key "capabilites"`,
		`paths "a" {}`:                     "1:1: unknown key",
		`path "a" "b" {}`:                  "1:1: want: path",
		`path = "a"`:                       "1:1: want: path",
		`path { "a" { policy = "read" } }`: "1:1: want: path",
		`path "a" { policy = "read" policy = "deny" }`:                        "once",
		`path "a" { denied_parameters { x = [] } denied_parameters { y=[] }}`: "1:41: \"denied_parameters\" is there twice",
		`path "a" { allowed_parameters = { "x" = [] x = [] } }`:               "is there twice",
		`path "a" { allowed_parameters = { X = [] x = [1] } }`:                "two spellings",
		`path "a" { allowed_parameters = { x = [["a"]] } }`:                   "not modelled",
		`path "a" { control_group = {} }`:                                     "1:12: control_group is for Vault Enterprise",
		`path "a/+*" {}`:                                                      `1:6: path "a/+*": "+*" is forbidden`,
		`path "a/{{identity.entity.id" {}`:                                    "{{ without",
		`path "a/{{entity.id}}" {}`:                                           "nothing that Vault fills in",
		`path "a" { policy = "admin" }`:                                       "unknown policy",
		`path "a" { min_wrapping_ttl = "5m" max_wrapping_ttl = "1m" }`:        "1:6: max_wrapping_ttl is less",
		`path "a" { min_wrapping_ttl = "-5m" }`:                               "negative",
		`path "a" { min_wrapping_ttl = "soon" }`:                              "no duration",
		`path "a" { capabilities = [5] }`:                                     "want a string",
		`path "a" { capabilities = "read" }`:                                  "1:27: want a list",
		`path "a" { denied_parameters = { x = 1 } }`:                          "want a list",
		`path "a" {`: "1:12",
		`path "a" { allowed_parameters = { x = [99999999999999999999] } }`: "cannot read",
		`{"path": {"a": {"policy": null}}}`:                                "null",
		"path \"\xff\" {}":                                                 "UTF-8",
		strings.Repeat("#", 1<<20+1):                                       "over the limit",
	} {
		_, err := vaultacl.Parse([]byte(text))
		var se *vaultacl.SyntaxError
		if !errors.As(err, &se) || !errors.Is(err, vaultacl.ErrPolicy) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s\n got %v\nwant %s", text, err, want)
		}
	}
}

// What does not read back is not printed.
func TestMarshalRefuses(t *testing.T) {
	for name, r := range map[string]vaultacl.PathRule{
		"unknown capability": {Path: "a", Capabilities: []string{"reed"}},
		"plus star":          {Path: "a/+*"},
		"a list":             {Path: "a", Allowed: map[string][]any{"x": {[]any{"y"}}}},
		"a number":           {Path: "a", Allowed: map[string][]any{"x": {vaultacl.Number("five")}}},
	} {
		if text, err := (vaultacl.Policy{Paths: []vaultacl.PathRule{r}}).Marshal(); err == nil {
			t.Errorf("%s: printed %s", name, text)
		}
	}
}

// What parses prints, and what is printed is the same policy; and no text makes the parser panic.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add(`{"path": {"a": {"capabilities": ["read"], "allowed_parameters": {"x": ["\u00e9", 1e3]}}}}`)
	f.Add("path \"a\" { comment = <<EOT\nx\nEOT\n}")
	f.Add(`path "a\"\\\t\u00e9" { denied_parameters = { "$" = ["$$", "{}"] } }`)
	if text, err := os.ReadFile("rule.go"); err == nil {
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := vaultacl.Parse([]byte(text))
		if err != nil {
			return
		}
		out, err := p.Marshal()
		if err != nil {
			t.Fatalf("%q parses and does not print: %v", text, err)
		}
		again, err := vaultacl.Parse(out)
		if err != nil || !reflect.DeepEqual(plain(again), plain(p)) {
			t.Fatalf("%q became\n%s\n%v: %+v is not %+v", text, out, err, again, p)
		}
	})
}
