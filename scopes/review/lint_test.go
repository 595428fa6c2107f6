package review_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/review"
)

func TestLint(t *testing.T) {
	const statement = `    resources: ["arn:aws:s3:::{bucket}/{prefix}*"]`
	second := edit(t, base, "name: x", "name: y")
	secret := `name: x
description: Look after the mail service.
provider: aws
role: s3
params:
  mail: {type: identifier}
statements:
  - actions: [secretsmanager:GetSecretValue]
    resources: ["arn:aws:secretsmanager:eu-west-1:111111111111:secret:{mail}"]
ttl: {default: 15m, max: 1h}
`
	var wide strings.Builder
	for i := range 12 {
		fmt.Fprintf(&wide, "\"arn:aws:s3:::{bucket}/%d/{prefix}*\", ", i)
	}
	for _, k := range []struct {
		name   string
		scopes []string
		rules  []string
		why    string
	}{
		{"nothing", []string{base}, nil, ""},
		{"every object", []string{edit(t, base, statement, statement+"\n  - actions: [s3:GetObjectAcl]\n    resources: [\"arn:aws:s3:::*\"]")}, []string{review.RuleAccountWide}, `"arn:aws:s3:::*" is every resource of its kind, for s3:GetObjectAcl`},
		{"actions that take nothing narrower", []string{edit(t, base, statement, statement+"\n  - actions: [s3:ListAllMyBuckets]\n    resources: [\"*\"]")}, nil, ""},
		{"every table", []string{edit(t, base, statement, statement+"\n  - actions: [dynamodb:GetItem]\n    resources: [\"arn:aws:dynamodb:*:*:table/*\"]")}, []string{review.RuleAccountWide}, ""},
		{"a whole mount", []string{edit(t, kv, "secret/data/{team}/*\n", "secret/data/*\n    capabilities: [read]\n  - path: secret/data/{team}/x\n")}, []string{review.RuleAccountWide}, `"secret/data/*"`},
		{"a destructive wildcard", []string{edit(t, base, "[s3:GetObject, s3:PutObject]", "[s3:GetObject, s3:Delete*Object]")}, []string{review.RuleWildcard}, `"s3:Delete*Object" takes in s3:DeleteObject`},
		{"a harmless wildcard", []string{edit(t, base, "[s3:GetObject, s3:PutObject]", "[s3:GetObject?ttributes, s3:PutObject]")}, nil, ""},
		{"no room", []string{edit(t, base, `resources: ["arn:aws:s3:::{bucket}/{prefix}*"]`, `resources: [`+strings.TrimSuffix(wide.String(), ", ")+`]`)}, []string{review.RuleRoom}, "does not fit"},
		{"a list", []string{edit(t, base, "type: s3_prefix", "type: s3_prefix, list: true")}, []string{review.RuleRoom}, "does not fit"},
		{"the same twice", []string{base, second}, []string{review.RuleSame}, "exactly what x gives"},
		{"the same of another role", []string{base, edit(t, second, "role: s3", "role: other")}, nil, ""},
		{"one in another", []string{base, edit(t, second, "{prefix}*\"]\n  - ", "reports/{prefix}*\"]\n  - ")}, []string{review.RuleCovered}, "nothing that x"},
		{"one in another of a higher tier", []string{base, edit(t, second, "[s3:GetObject, s3:PutObject]", "[s3:GetObject]")}, nil, ""},
		{"an unnamed secret", []string{secret}, []string{review.RuleSecret}, "secretsmanager:GetSecretValue"},
		{"a named secret", []string{edit(t, secret, "Look after", "Read the secrets of")}, nil, ""},
		{"a long destructive life", []string{edit(t, base, "s3:PutObject", "s3:DeleteObject", "max: 1h", "max: 2h")}, []string{review.RuleLongLife}, "tier destructive for up to 2h0m0s"},
	} {
		t.Run(k.name, func(t *testing.T) {
			var rules []string
			all := ""
			for _, f := range review.Lint(forAWS(t, load(t, k.scopes...))) {
				rules = append(rules, f.Rule)
				all += f.Why + "\n"
				if f.File == "" || f.Scope == "" || f.Do == "" {
					t.Errorf("something is missing: %+v", f)
				}
			}
			if !slices.Equal(rules, k.rules) || !strings.Contains(all, k.why) {
				t.Errorf("found %v, want %v and %q:\n%s", rules, k.rules, k.why, all)
			}
		})
	}
}

func forAWS(t *testing.T, c *scopes.Catalog) *scopes.Catalog {
	t.Helper()
	c, err := c.For(iam.DialectAWS)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheExampleCatalogIsClean(t *testing.T) {
	c, err := scopes.Load("../../testdata/catalog")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range review.Lint(forAWS(t, c)) {
		t.Errorf("%+v", f)
	}
}
