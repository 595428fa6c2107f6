package vaultacl_test

import (
	"fmt"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func mustParse(text string) []vaultacl.Policy {
	p, err := vaultacl.Parse([]byte(text))
	if err != nil {
		fmt.Println(err)
	}
	return []vaultacl.Policy{p}
}

// Two rules that look alike: the second reaches folders, too.
func ExampleCovers() {
	plus := mustParse(`path "secret/data/+" { capabilities = ["read"] }`)
	star := mustParse(`path "secret/data/*" { capabilities = ["read"] }`)
	fmt.Println(vaultacl.Covers(star, plus).Answer)
	c := vaultacl.Covers(plus, star)
	fmt.Println(c.Answer, c.Witness)
	// Output:
	// yes
	// no read secret/data/x/x
}

// The most specific path decides, and what a wider one gives is lost.
func ExampleAllows() {
	app := mustParse(`
path "kv/*"     { capabilities = ["read", "delete"] }
path "kv/+/tls" { capabilities = ["read"] }`)
	d := vaultacl.Allows(app, vaultacl.Request{Operation: vaultacl.OpDelete, Path: "kv/web/tls"})
	fmt.Println(d.Verdict, "-", d.Why)
	fmt.Println(vaultacl.CapabilitiesAt(app, "kv/web/db"))
	// Output:
	// implicit_deny - the rule for "kv/+/tls" does not give delete
	// [delete read]
}

// What a change of a policy gives, and how bad that could be.
func ExampleDiff() {
	before := mustParse(`path "secret/data/web/*" { capabilities = ["read"] }`)
	after := mustParse(`path "secret/data/+/*" { capabilities = ["read", "delete"] }`)
	for _, c := range vaultacl.Diff(before, after).Gained {
		fmt.Println(c.Tier, c.Path, c.Operations, "for example", c.Witness)
	}
	// Output: destructive secret/data/+/* [delete read] for example delete secret/data/x/x
}
