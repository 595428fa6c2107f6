package scopes

import (
	"encoding/json"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// TestSeal refuses what Canonical refuses, and prints what it prints.
func TestSeal(t *testing.T) {
	get := &iam.Policy{Version: iam.Version, Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::a/*"}}}}
	rules := []vaultacl.Rule{{Path: "a/b", Capabilities: []string{"read"}}}
	for name, p := range map[string]Permissions{
		"none":                   {},
		"two kinds":              {Vault: rules, VaultRead: "x/y"},
		"no dialect":             {AWS: get},
		"a dialect of Vault":     {Dialect: iam.DialectAWS, Vault: rules},
		"wrapping of nothing":    {Vault: rules, VaultWrap: true},
		"a policy of no Allow":   {Dialect: iam.DialectAWS, AWS: &iam.Policy{Version: iam.Version}},
		"a path with two plus-*": {Vault: []vaultacl.Rule{{Path: "a/+*", Capabilities: []string{"read"}}}},
	} {
		if s, err := p.Seal(); err == nil || s.Valid() {
			t.Errorf("%s: sealed as %s", name, s.Canonical())
		}
	}
	for _, p := range []Permissions{{Dialect: iam.DialectAWS, AWS: get}, {Vault: rules}, {VaultRead: "x/y", VaultWrap: true}} {
		s, err := p.Seal()
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := p.Digest()
		if err != nil {
			t.Fatal(err)
		}
		printed, err := json.Marshal(s)
		if err != nil || string(printed) != string(text) || s.Canonical() != string(text) || s.Digest() != digest || s.Dialect() != p.Dialect || s.VaultRead() != p.VaultRead {
			t.Errorf("%s is sealed as %s, %v", text, printed, err)
		}
	}
	if printed, err := json.Marshal(Sealed{}); err != nil || string(printed) != "null" {
		t.Errorf("the zero value is %s, %v", printed, err)
	}
}
