package scopes_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

func printed(t *testing.T, s *scopes.Scope) string {
	t.Helper()
	c := s.Ceiling()
	b, err := scopes.Permissions{AWS: c.AWS, Vault: c.Vault}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func numbers(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"%d"`, i+1))
	}
	return strings.Join(out, ", ")
}

// A ceiling is the scope's statements at their widest.
func TestCeiling(t *testing.T) {
	const head = "name: x\ndescription: d\nrole: s3\nttl: {default: 15m, max: 1h}\n"
	for name, x := range map[string]struct{ scope, want string }{
		"bucket and prefix": {`provider: aws
params: {bucket: {type: s3_bucket}, prefix: {type: s3_prefix}}
statements:
  - {actions: ["s3:GetObject"], resources: ["arn:aws:s3:::{bucket}/{prefix}*"]}
  - {actions: ["s3:ListBucket"], resources: ["arn:aws:s3:::{bucket}"], conditions: {StringLike: {"s3:prefix": ["{prefix}*"]}}}
`, `{"aws":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":"arn:aws:s3:::*/*/*"},` +
			`{"Action":"s3:ListBucket","Condition":{"StringLike":{"s3:prefix":"*/*"}},"Effect":"Allow","Resource":"arn:aws:s3:::*"}],"Version":"2012-10-17"}}`},
		"allowed values": {`provider: aws
params: {bucket: {type: s3_bucket, allowed: [reports, logs]}, env: {type: enum, allowed: [dev, test], list: true}}
statements:
  - {actions: ["s3:GetObject"], resources: ["arn:aws:s3:::{bucket}/{env}/*"]}
`, `{"aws":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":["arn:aws:s3:::logs/dev/*","arn:aws:s3:::logs/test/*",` +
			`"arn:aws:s3:::reports/dev/*","arn:aws:s3:::reports/test/*"]}],"Version":"2012-10-17"}}`},
		"types": {`provider: aws
params: {region: {type: region}, account: {type: account_id}, queue: {type: pattern, pattern: "jobs-[a-z]+"}}
statements:
  - {actions: ["sqs:SendMessage"], resources: ["arn:aws:sqs:{region}:{account}:{queue}"]}
`, `{"aws":{"Statement":[{"Action":"sqs:SendMessage","Effect":"Allow","Resource":"arn:aws:sqs:??-*-?:????????????:jobs-*"}],"Version":"2012-10-17"}}`},
		"conditions": {`provider: aws
params: {owner: {type: identifier}, level: {type: integer, min: 1, max: 9}}
statements:
  - actions: ["s3:GetObject"]
    resources: ["arn:aws:s3:::b/*"]
    conditions:
      StringEquals: {"aws:PrincipalTag/owner": ["{owner}"]}
      NumericLessThan: {"aws:MultiFactorAuthAge": ["{level}"]}
      StringEqualsIgnoreCaseIfExists: {"aws:PrincipalTag/team": ["{owner}"]}
      Bool: {"aws:SecureTransport": true}
`, `{"aws":{"Statement":[{"Action":"s3:GetObject","Condition":{"Bool":{"aws:SecureTransport":"true"},"Null":{"aws:MultiFactorAuthAge":"false"},` +
			`"StringLike":{"aws:PrincipalTag/owner":"*"}},"Effect":"Allow","Resource":"arn:aws:s3:::b/*"}],"Version":"2012-10-17"}}`},
		"more combinations than are counted": {`provider: aws
params: {a: {type: enum, allowed: [` + numbers(20) + `]}, b: {type: enum, allowed: [` + numbers(21) + `]}}
statements:
  - actions: ["s3:GetObject"]
    resources: ["arn:aws:s3:::b/{a}/{b}"]
    conditions: {StringEquals: {"aws:PrincipalTag/x": ["{b}-{a}"]}}
`, ""},
		"vault": {`provider: vault
params: {team: {type: identifier}, app: {type: pattern, pattern: "[a-z/]+"}, role: {type: identifier}}
paths:
  - {path: "secret/data/{team}/*", capabilities: [read]}
  - {path: "kv/data/{app}/x", capabilities: [read]}
  - {path: "kv/meta/app-{team}", capabilities: [list]}
  - {path: "kv/in/app-{team}/{role}", capabilities: [read]}
`, `{"vault":[{"capabilities":["read"],"path":"kv/data/*"},{"capabilities":["read"],"path":"kv/in/+/+"},` +
			`{"capabilities":["list"],"path":"kv/meta/app-*"},{"capabilities":["read"],"path":"secret/data/+/*"}]}`},
		"vault paths that hide each other": {`provider: vault
params: {team: {type: identifier}}
paths:
  - {path: "secret/data/{team}/*", capabilities: [read]}
  - {path: "secret/data/shared/*", capabilities: [list]}
`, `{"vault":[{"capabilities":["read"],"path":"secret/data/+/*"},{"capabilities":["list","read"],"path":"secret/data/shared/*"}]}`},
		"vault read": {`provider: vault
params: {role: {type: identifier}}
read: database/creds/{role}
`, `{"vault":[{"capabilities":["read"],"path":"database/creds/+"}]}`},
	} {
		_, s := load(t, head+x.scope)
		got := printed(t, s)
		if x.want == "" { // too long to write down
			c := s.Ceiling().AWS.Statements[0]
			if len(c.Resource) != 20 || c.Resource[0] != "arn:aws:s3:::b/1/*" || len(c.Condition["StringLike"]["aws:PrincipalTag/x"]) != 20 {
				t.Errorf("%s: %s", name, got)
			}
			continue
		}
		if got != x.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, x.want)
		}
	}
}

// A caller gets a copy.
func TestCeilingIsACopy(t *testing.T) {
	_, s := load(t, good)
	before := printed(t, s)
	s.Ceiling().AWS.Statements[0].Resource[0] = "*"
	if after := printed(t, s); after != before {
		t.Errorf("the ceiling was changed from outside: %s", after)
	}
}
