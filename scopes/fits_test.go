package scopes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

// twice says the same of each prefix in two statements, which shrinking merges.
const twice = `name: x
description: d
provider: aws
role: s3
params:
  bucket: {type: s3_bucket}
  prefixes: {type: s3_prefix, list: true}
statements:
  - actions: ["s3:GetObject"]
    resources: ["arn:aws:s3:::{bucket}/{prefixes}*"]
  - actions: ["s3:PutObject"]
    resources: ["arn:aws:s3:::{bucket}/{prefixes}*"]
ttl: {default: 15m, max: 1h}
`

func prefixes(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("team-%02d/reports/", i))
	}
	return out
}

func boundSize(t *testing.T, p iam.Policy) int {
	t.Helper()
	bound, err := iam.Bind(p, iam.Limits{NotAfter: time.Unix(1, 0), Dialect: iam.DialectAWS})
	if err != nil {
		t.Fatal(err)
	}
	return iam.Size(bound)
}

// A policy is shrunk where it does not fit otherwise, and only then.
func TestShrinksOnlyWhatDoesNotFit(t *testing.T) {
	c, _ := load(t, twice)
	ask := func(n int) (scopes.Request, error) {
		return c.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": prefixes(n)}})
	}
	r, err := ask(9)
	if err != nil || len(r.Permissions().AWS.Statements) != 2 {
		t.Fatalf("%v, %+v", err, r.Permissions().AWS)
	}
	r, err = ask(14)
	if err != nil {
		t.Fatal(err)
	}
	p := *r.Permissions().AWS
	if len(p.Statements) != 1 || boundSize(t, p) > iam.MaxSize {
		t.Errorf("%d characters in %d statements", boundSize(t, p), len(p.Statements))
	}
	if cov, err := iam.Covers(iam.DialectAWS, []iam.Policy{*r.Scope().Ceiling().AWS}, []iam.Policy{p}); err != nil || cov.Answer != iam.Yes {
		t.Errorf("%+v, %v", cov, err)
	}
	if got := fmt.Sprint(r.Actions()); got != "[s3:GetObject s3:PutObject]" || len(r.Resources()) != 14 {
		t.Errorf("%s on %v", got, r.Resources())
	}
	for _, n := range []int{24, 32} {
		if _, err = ask(n); !errors.Is(err, scopes.ErrTooLarge) || errors.Is(err, scopes.ErrUnproven) {
			t.Errorf("%d prefixes: %v", n, err)
		}
	}
}

// What the catalogue lets shrinking merge is proven too, but for the pairs that no request has.
func TestShrinksByTheCatalogue(t *testing.T) {
	c, _ := load(t, strings.NewReplacer(`"s3:PutObject"]`+"\n"+`    resources: ["arn:aws:s3:::{bucket}/{prefixes}*"]`,
		`"s3:ListBucket"]`+"\n"+`    resources: ["arn:aws:s3:::{bucket}"]`).Replace(twice))
	merged := false
	for n := range 200 { // one character more at a time, since merging saves little
		long := append(prefixes(14), strings.Repeat("x", n+1))
		r, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"production"}, "prefixes": long}})
		if err != nil {
			if !errors.Is(err, scopes.ErrTooLarge) {
				t.Fatal(err)
			}
			break
		}
		merged = merged || len(r.Permissions().AWS.Statements) == 1
	}
	if !merged {
		t.Error("no request was merged by the catalogue")
	}
}

// A scope's version has the actions that its wildcards stand for, so that what AWS adds changes it.
func TestExpansionIsInTheVersion(t *testing.T) {
	names := actions.Expand("s3:GetObjectT*")
	if len(names) < 2 {
		t.Fatalf("%v", names)
	}
	quoted := func(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }
	version := func(list string) string {
		_, s := load(t, strings.Replace(good, "[s3:GetObject]", "["+list+"]", 1))
		return s.Version()
	}
	wild := version(`"s3:GetObjectT*"`)
	if wild != version(quoted(names)) {
		t.Error("a wildcard and what it stands for have two versions: the version has the wildcard and not its expansion")
	}
	if wild == version(quoted(names[1:])) {
		t.Error("one action less, and the same version")
	}
}

func TestRegions(t *testing.T) {
	c, s := load(t, good+"bindings: {regions: [eu-west-2, eu-west-1, eu-west-2]}\n")
	if got := fmt.Sprint(s.Regions()); got != "[eu-west-1 eu-west-2]" {
		t.Error(got)
	}
	s.Regions()[0] = "x"
	if s.Regions()[0] != "eu-west-1" {
		t.Error("the Regions were changed from outside")
	}
	if _, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"abc"}}}); err != nil {
		t.Error(err)
	}
}
