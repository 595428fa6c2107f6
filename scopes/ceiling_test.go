package scopes_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

func printed(t *testing.T, s *scopes.Scope) string {
	t.Helper()
	c := s.Ceiling()
	p := scopes.Permissions{AWS: c.AWS, Vault: c.Vault}
	if c.AWS != nil {
		p.Dialect = iam.DialectAWS
	}
	b, err := p.Canonical()
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
			`{"Action":"s3:ListBucket","Condition":{"StringLike":{"s3:prefix":"*/*"}},"Effect":"Allow","Resource":"arn:aws:s3:::*"}],"Version":"2012-10-17"},"dialect":"aws"}`},
		"allowed values": {`provider: aws
params: {bucket: {type: s3_bucket, allowed: [reports, logs]}, env: {type: enum, allowed: [dev, test], list: true}}
statements:
  - {actions: ["s3:GetObject"], resources: ["arn:aws:s3:::{bucket}/{env}/*"]}
`, `{"aws":{"Statement":[{"Action":"s3:GetObject","Effect":"Allow","Resource":["arn:aws:s3:::logs/dev/*","arn:aws:s3:::logs/test/*",` +
			`"arn:aws:s3:::reports/dev/*","arn:aws:s3:::reports/test/*"]}],"Version":"2012-10-17"},"dialect":"aws"}`},
		"types": {`provider: aws
params: {region: {type: region}, account: {type: account_id}, queue: {type: pattern, pattern: "jobs-[a-z]+"}}
statements:
  - {actions: ["sqs:SendMessage"], resources: ["arn:aws:sqs:{region}:{account}:{queue}"]}
`, `{"aws":{"Statement":[{"Action":"sqs:SendMessage","Effect":"Allow","Resource":"arn:aws:sqs:??-*-?:????????????:jobs-*"}],"Version":"2012-10-17"},"dialect":"aws"}`},
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
			`"StringLike":{"aws:PrincipalTag/owner":"*"}},"Effect":"Allow","Resource":"arn:aws:s3:::b/*"}],"Version":"2012-10-17"},"dialect":"aws"}`},
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

func ceiling(t *testing.T, p scopes.Provider, texts ...string) scopes.RoleCeiling {
	t.Helper()
	var files []string
	for _, text := range texts {
		f := filepath.Join(t.TempDir(), "role")
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	c, err := scopes.LoadCeiling(p, files...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// All example scopes lie within the example roles' ceilings.
func TestExampleCeilings(t *testing.T) {
	c := example(t)
	roles := map[string]scopes.RoleCeiling{}
	for role, file := range map[string]string{"s3": "s3-role.json", "vault": "vault-role.hcl"} {
		p := scopes.ProviderAWS
		if role == "vault" {
			p = scopes.ProviderVault
		}
		var err error
		if roles[role], err = scopes.LoadCeiling(p, "../testdata/catalog/ceilings/"+file); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ProveCeilings(roles); err != nil {
		t.Fatal(err)
	}
	// The test can fail: a smaller role does not hold them.
	roles["s3"] = ceiling(t, scopes.ProviderAWS, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}`)
	err := c.ProveCeilings(roles)
	for _, want := range []string{"s3-bucket-rebuild.yaml", "s3-prefix-read.yaml", "s3-prefix-write.yaml"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// What must not load, and the words that say why.
func TestOverTheCeiling(t *testing.T) {
	const aws = `name: x
description: d
provider: aws
role: s3
params: {bucket: {type: s3_bucket}}
statements:
  - {actions: ["s3:GetObject"], resources: ["arn:aws:s3:::{bucket}/*"]}
ttl: {default: 15m, max: 1h}
`
	const vault = `name: x
description: d
provider: vault
role: s3
params: {team: {type: identifier}}
paths:
  - {path: "secret/data/{team}/*", capabilities: [read]}
ttl: {default: 15m, max: 1h}
`
	role := func(statements string) string { return `{"Version":"2012-10-17","Statement":[` + statements + `]}` }
	all := func(action, resource string) string {
		return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
	}
	for name, x := range map[string]struct {
		scope string
		role  []string
		want  string // "" loads
	}{
		"covered":                {aws, []string{role(all("s3:Get*", "arn:aws:s3:::*/*"))}, ""},
		"covered by two files":   {strings.Replace(aws, "type: s3_bucket", "type: s3_bucket, allowed: [aaa, bbb]", 1), []string{role(all("s3:*", "arn:aws:s3:::aaa/*")), role(all("s3:*", "arn:aws:s3:::bbb/*"))}, ""},
		"covered by a list":      {aws, []string{"[" + role(all("s3:Put*", "*")) + "," + role(all("s3:Get*", "*")) + "]"}, ""},
		"another action":         {aws, []string{role(all("s3:PutObject", "*"))}, "allows s3:GetObject on arn:aws:s3:::aaa/"},
		"one bucket too many":    {strings.Replace(aws, "type: s3_bucket", "type: s3_bucket, allowed: [aaa, bbb]", 1), []string{role(all("s3:*", "arn:aws:s3:::aaa/*"))}, "allows s3:GetObject on arn:aws:s3:::bbb/"},
		"any bucket":             {aws, []string{role(all("s3:*", "arn:aws:s3:::aaa/*"))}, "allows s3:GetObject on arn:aws:s3:::"},
		"a wildcarded action":    {strings.Replace(aws, `"s3:GetObject"]`, `"s3:GetObject*"]`, 1), []string{role(all("s3:GetObject", "*"))}, "allows s3:GetObject"},
		"a Deny of the role":     {aws, []string{role(all("s3:*", "*") + `,{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::payroll/*"}`)}, "on arn:aws:s3:::payroll/"},
		"a condition":            {aws, []string{role(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`)}, "allows s3:GetObject on"},
		"the same condition":     {strings.Replace(aws, `/*"]}`, `/*"], conditions: {Bool: {"aws:SecureTransport": true}}}`, 1), []string{role(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`)}, ""},
		"a variable of the role": {aws, []string{role(all("s3:GetObject", "arn:aws:s3:::${aws:PrincipalTag/team}/*"))}, "allows s3:GetObject on"},
		"an arn":                 {strings.NewReplacer("bucket: {type: s3_bucket}", "it: {type: arn}", "arn:aws:s3:::{bucket}/*", "{it}").Replace(aws), []string{role(all("s3:GetObject", "arn:aws:s3:::*/*"))}, "allows s3:GetObject on arn:"},
		"an arn of a list":       {strings.NewReplacer("bucket: {type: s3_bucket}", `it: {type: arn, allowed: ["arn:aws:s3:::b/k"]}`, "arn:aws:s3:::{bucket}/*", "{it}").Replace(aws), []string{role(all("s3:GetObject", "arn:aws:s3:::*/*"))}, ""},
		"a role of Denies":       {aws, []string{role(`{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}`)}, "allows s3:GetObject on"},
		"what cannot be told": {strings.Replace(aws, `/*"]}`, `/*"], conditions: {StringLike: {"aws:MultiFactorAuthAge": "5*"}}}`, 1),
			[]string{role(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericEquals":{"aws:MultiFactorAuthAge":"5"}}}`)}, "cannot be told: "},
		"vault covered":    {vault, []string{`path "secret/data/*" { capabilities = ["read", "list"] }`}, ""},
		"vault capability": {vault, []string{`path "secret/data/*" { capabilities = ["list"] }`}, "allows read secret/data/"},
		"vault mount":      {vault, []string{`path "kv/*" { capabilities = ["read"] }`}, "allows read secret/data/"},
		"vault deny below": {vault, []string{"path \"secret/data/*\" { capabilities = [\"read\"] }\npath \"secret/data/payroll/*\" { capabilities = [\"deny\"] }"}, "allows read secret/data/payroll/"},
		"vault parameters": {vault, []string{`path "secret/data/*" { capabilities = ["read"] required_parameters = ["v"] }`}, "allows read secret/data/"},
		"vault template":   {vault, []string{`path "secret/data/{{identity.entity.name}}/*" { capabilities = ["read"] }`}, "allows read secret/data/"},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := load(t, x.scope)
			err := c.ProveCeilings(map[string]scopes.RoleCeiling{"s3": ceiling(t, s.Provider(), x.role...)})
			if x.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "x.yaml: ") || !strings.Contains(err.Error(), `"s3"`) {
				t.Errorf("got %v\nwant it to say %q", err, x.want)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
}
