package scopes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// hole is a parameter that a random scope can have: its declaration, and values that it takes.
type hole struct{ declared, values string }

// holes are by the place that they can stand in.
var awsHoles = map[string][]hole{
	"region":  {{"type: region", "eu-west-1 us-gov-west-1"}, {"type: region, allowed: [eu-west-1, eu-west-2]", "eu-west-1 eu-west-2"}},
	"account": {{"type: account_id", "111122223333 000000000000"}, {`type: account_id, allowed: ["111122223333"]`, "111122223333"}},
	"name": {
		{"type: identifier", "a jobs.prod x-1"}, {"type: s3_bucket", "production aaa a.b"}, {"type: dynamodb_table", "orders_1 ..a aaa"},
		{`type: pattern, pattern: "jobs-[a-z]+(/x)?"`, "jobs-a jobs-zz/x"}, {`type: pattern, pattern: ".*"`, "a a/b a:b é:/ x,y a%2a"},
		{`type: pattern, pattern: "(a|bc)d"`, "ad bcd"}, {`type: pattern, pattern: "(?i)ab.*"`, "AB abX"},
		{"type: enum, allowed: [dev, test/a, \"x:y\"]", "dev test/a x:y"}, {"type: integer, min: -5, max: 500", "-5 0 77"},
		{"type: s3_prefix", "a a/b a/"}, {`type: s3_prefix, allowed: [reports/, logs/]`, "reports logs/"},
	},
	"arn": {{"type: arn", "arn:aws:sqs:eu-west-1:111122223333:q arn:aws-cn:sqs:::x:y"}, {`type: arn, allowed: ["arn:aws:sqs:eu-west-1:111122223333:q"]`, "arn:aws:sqs:eu-west-1:111122223333:q"}},
}

// randomScope is a scope of SQS, whose ARNs have all the fields, and values for it.
func randomScope(t *rapid.T) (text string, values params) {
	values = params{}
	var declared []string
	n := 0
	place := func(kind string) string {
		h := rapid.SampledFrom(awsHoles[kind]).Draw(t, kind)
		name := fmt.Sprintf("p%d", n)
		n++
		list := rapid.Bool().Draw(t, "list")
		all := strings.Fields(h.values)
		values[name] = []string{rapid.SampledFrom(all).Draw(t, "value")}
		if list {
			values[name] = append(values[name], rapid.SampledFrom(all).Draw(t, "value"))
			h.declared += ", list: true"
		}
		declared = append(declared, name+": {"+h.declared+"}")
		return "{" + name + "}"
	}
	maybe := func(kind, literal string) string {
		if rapid.Bool().Draw(t, "hole") {
			return place(kind)
		}
		return literal
	}
	name := func() string {
		return rapid.SampledFrom([]string{"", "q-", "a/", "${aws:userid}-"}).Draw(t, "before") + maybe("name", "q") +
			rapid.SampledFrom([]string{"", "*", "-x", "?", "-*-z", "${*}"}).Draw(t, "after")
	}
	arn := func() string {
		if rapid.IntRange(0, 9).Draw(t, "whole") == 0 {
			return place("arn")
		}
		return "arn:aws:sqs:" + maybe("region", "eu-*") + ":" + maybe("account", "111122223333") + ":" + name()
	}
	var b strings.Builder
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		fmt.Fprintf(&b, "  - actions: [%s]\n    resources: [%q", rapid.SampledFrom([]string{`"sqs:SendMessage"`, `"sqs:Get*", "sqs:SendMessage"`}).Draw(t, "actions"), arn())
		if rapid.Bool().Draw(t, "second resource") {
			fmt.Fprintf(&b, ", %q", arn())
		}
		b.WriteString("]\n")
		conditions := map[string]string{}
		for range rapid.IntRange(0, 3).Draw(t, "conditions") {
			op := rapid.SampledFrom([]string{"StringEquals", "StringLike", "StringLikeIfExists", "ForAllValues:StringEquals", "ForAnyValue:StringLike",
				"StringEqualsIgnoreCase", "ArnLike", "ArnEqualsIfExists", "StringNotLike", "NumericLessThan", "Bool"}).Draw(t, "op")
			key := rapid.SampledFrom([]string{"aws:PrincipalTag/a", "aws:SourceArn", "aws:TagKeys"}).Draw(t, "key")
			switch op {
			case "Bool":
				conditions[op] = fmt.Sprintf(`{%q: ["true"]}`, "aws:SecureTransport")
			case "StringNotLike":
				conditions[op] = fmt.Sprintf(`{%q: ["a*"]}`, key)
			case "NumericLessThan":
				conditions[op] = fmt.Sprintf(`{%q: ["%s"]}`, "aws:MultiFactorAuthAge", "5")
			case "ArnLike", "ArnEqualsIfExists":
				conditions[op] = fmt.Sprintf(`{%q: [%q]}`, key, arn())
			default:
				conditions[op] = fmt.Sprintf(`{%q: [%q, %q]}`, key, name(), name())
			}
		}
		if len(conditions) > 0 {
			b.WriteString("    conditions:\n")
			for op, values := range conditions {
				fmt.Fprintf(&b, "      %q: %s\n", op, values)
			}
		}
	}
	head := "name: x\ndescription: d\nprovider: aws\nrole: s3\nttl: {default: 15m, max: 1h}\n"
	if len(declared) > 0 {
		head += "params:\n  " + strings.Join(declared, "\n  ") + "\n"
	}
	return head + "statements:\n" + b.String(), values
}

// Whatever the scope and the values, what is resolved lies within the ceiling, and the structural proof says yes to
// nothing that Covers denies.
func TestWhatIsResolvedIsCovered(t *testing.T) {
	dir := t.TempDir()
	var resolved, structural, loaded, drawn int
	rapid.Check(t, func(t *rapid.T) {
		drawn++
		text, values := randomScope(t)
		if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadAWS(dir)
		if err != nil {
			if strings.Contains(err.Error(), "not proven") || strings.Contains(err.Error(), "widest") {
				t.Fatalf("%v\n%s", err, text)
			}
			return
		}
		loaded++
		r, err := c.Resolve(scopes.Query{Scope: "x", Params: values})
		if err != nil {
			if errors.Is(err, scopes.ErrUnproven) {
				t.Fatalf("%v\n%s\n%v", err, text, values)
			}
			return
		}
		resolved++
		ceiling, p := *r.Scope().Ceiling().AWS, *r.Permissions().AWS
		cov, err := iam.Covers(iam.DialectAWS, []iam.Policy{ceiling}, []iam.Policy{p})
		if err != nil || cov.Answer == iam.No {
			t.Fatalf("%v %+v\n%s\n%v", err, cov.Witness, text, values)
		}
		if scopes.Within(iam.DialectAWS, ceiling, p) {
			structural++
		} else if cov.Answer != iam.Yes {
			t.Fatalf("neither proof holds\n%s\n%v", text, values)
		}
		narrowest(t, ceiling, p)
	})
	t.Logf("%d of %d scopes loaded, %d requests resolved, %d proven by structure", loaded, drawn, resolved, structural)
	if resolved < drawn/10 || structural < resolved*9/10 {
		t.Errorf("%d scopes, %d loaded, %d resolved, %d proven by structure: the test tests too little", drawn, loaded, resolved, structural)
	}
}

// narrowest changes the policy in one place and holds the structural proof against Covers again.
func narrowest(t *rapid.T, ceiling, p iam.Policy) {
	p = p.Clone()
	s := &p.Statements[rapid.IntRange(0, len(p.Statements)-1).Draw(t, "changed")]
	twist := func(v string) string {
		at := rapid.IntRange(0, len(v)).Draw(t, "at")
		return v[:at] + rapid.SampledFrom([]string{"*", "?", "", "x", ":", "/", "${aws:userid}", "${*}"}).Draw(t, "twist") + v[min(len(v), at+rapid.IntRange(0, 3).Draw(t, "cut")):]
	}
	switch rapid.IntRange(0, 3).Draw(t, "change") {
	case 0:
		s.Resource[0] = twist(s.Resource[0])
	case 1:
		s.Action = append(s.Action, "sqs:DeleteQueue")
	case 2:
		for op := range s.Condition {
			delete(s.Condition, op)
			break
		}
	case 3:
		for op, keys := range s.Condition {
			for key, values := range keys {
				s.Condition[op][key] = append([]string{twist(values[0])}, values[1:]...)
			}
		}
	}
	if p.Validate() != nil || !scopes.Within(iam.DialectAWS, ceiling, p) {
		return
	}
	if cov, err := iam.Covers(iam.DialectAWS, []iam.Policy{ceiling}, []iam.Policy{p}); err != nil || cov.Answer == iam.No {
		t.Fatalf("the structural proof takes what Covers denies: %v\nceiling %v\npolicy  %v\nwitness %+v", err, text(t, ceiling), text(t, p), cov.Witness)
	}
}

func text(t *rapid.T, p iam.Policy) string {
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The inclusion of patterns says yes to nothing that Covers denies, in resources and in conditions of each kind.
func TestInclusionIsSound(t *testing.T) {
	pieces := []string{"a", "b", ":", "*", "?", "${aws:userid}", "${*}", "**", "é", "::", "arn:aws:s3:", "a:b:c:d:e:f"}
	pattern := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 7).Draw(t, "pieces"), "")
	})
	yes := 0
	pair := func(t *rapid.T) {
		wide, narrow := pattern.Draw(t, "wide"), pattern.Draw(t, "narrow")
		if rapid.Bool().Draw(t, "near") { // two random patterns seldom include each other
			narrow = wide
			for range rapid.IntRange(1, 2).Draw(t, "changes") {
				narrow = strings.Replace(narrow, rapid.SampledFrom(pieces).Draw(t, "of"), rapid.SampledFrom(pieces).Draw(t, "to"), 1)
			}
		}
		ops := [2]string{}
		if i := rapid.IntRange(0, 5).Draw(t, "kind"); i > 0 {
			ops = [][2]string{{"StringLike", "StringLike"}, {"StringLike", "StringEquals"}, {"ArnLike", "ArnLike"}, {"ForAllValues:StringLike", "ForAllValues:StringEquals"}, {"ArnEqualsIfExists", "ArnEqualsIfExists"}}[i-1]
		}
		make1 := func(op, v string) iam.Policy {
			s := iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"*"}}
			if op == "" {
				s.Resource = []string{v}
			} else {
				s.Condition = map[string]map[string][]string{op: {"aws:PrincipalTag/a": {v}}}
			}
			return iam.Policy{Version: iam.Version, Statements: []iam.Statement{s}}
		}
		w, n := make1(ops[0], wide), make1(ops[1], narrow)
		if w.Validate() != nil || n.Validate() != nil || !scopes.Within(iam.DialectAWS, w, n) {
			return
		}
		yes++
		if c, err := iam.Covers(iam.DialectAWS, []iam.Policy{w}, []iam.Policy{n}); err != nil || c.Answer == iam.No {
			t.Fatalf("%v: %q is not in %q by Covers: %+v, %v", ops, narrow, wide, c.Witness, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 10 { // of which a few include each other
			pair(t)
		}
	})
	if yes < 10 {
		t.Errorf("%d inclusions: the test tests too little", yes)
	}
}

// Vault likewise.
func TestWhatIsResolvedIsCoveredInVault(t *testing.T) {
	dir := t.TempDir()
	vaultHoles := []hole{
		{"type: identifier", "a app b.c data"}, {`type: pattern, pattern: "[a-z]+(/[a-z]+)?"`, "a a/b shared"}, {"type: enum, allowed: [a, a/b, shared]", "a a/b shared"},
		{`type: pattern, pattern: "x-[a-z]+"`, "x-a x-shared"}, {"type: integer, min: 1, max: 9", "1 9"},
	}
	resolved := 0
	rapid.Check(t, func(t *rapid.T) {
		var b, declared strings.Builder
		values := params{}
		for i := range rapid.IntRange(1, 3).Draw(t, "paths") {
			path := rapid.SampledFrom([]string{"secret/data/%s", "secret/data/%s/*", "secret/data/%s*", "secret/data/app-%s", "secret/+/%s/x", "secret/data/shared/*", "secret/%s/a-%[1]s/x", "secret/data/a"}).Draw(t, "path")
			if strings.Contains(path, "%") {
				h := rapid.SampledFrom(vaultHoles).Draw(t, "hole")
				name := fmt.Sprintf("p%d", i)
				path = fmt.Sprintf(path, "{"+name+"}")
				fmt.Fprintf(&declared, "  %s: {%s}\n", name, h.declared)
				values[name] = []string{rapid.SampledFrom(strings.Fields(h.values)).Draw(t, "value")}
			}
			caps := rapid.SampledFrom([]string{"read", "list", "read, list", "create, update", "delete"}).Draw(t, "caps")
			fmt.Fprintf(&b, "  - {path: %q, capabilities: [%s]}\n", path, caps)
		}
		text := "name: x\ndescription: d\nprovider: vault\nrole: v\nttl: {default: 15m, max: 1h}\npaths:\n" + b.String()
		if declared.Len() > 0 {
			text += "params:\n" + declared.String()
		}
		if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadAWS(dir)
		if err != nil {
			if strings.Contains(err.Error(), "not proven") || strings.Contains(err.Error(), "widest") {
				t.Fatalf("%v\n%s", err, text)
			}
			return
		}
		r, err := c.Resolve(scopes.Query{Scope: "x", Params: values})
		if err != nil {
			if errors.Is(err, scopes.ErrUnproven) {
				t.Fatalf("%v\n%s\n%v", err, text, values)
			}
			return
		}
		resolved++
		wide, narrow := vaultacl.FromRules("c", r.Scope().Ceiling().Vault), vaultacl.FromRules("r", r.Permissions().Vault)
		if cov := vaultacl.Covers([]vaultacl.Policy{wide}, []vaultacl.Policy{narrow}); cov.Answer != vaultacl.Yes {
			t.Fatalf("%+v\n%s\n%v", cov, text, values)
		}
	})
	if resolved < 10 {
		t.Errorf("%d requests resolved: the test tests too little", resolved)
	}
}

// Hostile values end as a parameter that is refused, or as a request under the ceiling; the proof is never what stops
// them, since the checks before it do.
func TestHostileValuesStayUnderTheCeiling(t *testing.T) {
	aws, _ := load(t, `name: x
description: d
provider: aws
role: s3
params: {free: {type: pattern, pattern: "(?s).*"}, tag: {type: pattern, pattern: "(?s).*"}, bucket: {type: s3_bucket}}
statements:
  - actions: ["s3:GetObject"]
    resources: ["arn:aws:s3:::{bucket}/in/{free}/${aws:userid}/*"]
    conditions: {StringEquals: {"aws:PrincipalTag/a": ["t-{tag}"]}, ArnLike: {"aws:SourceArn": ["arn:aws:s3:::{bucket}/{free}"]}}
ttl: {default: 15m, max: 1h}
`)
	vault, _ := load(t, `name: x
description: d
provider: vault
role: v
params: {free: {type: pattern, pattern: "(?s).*"}, tag: {type: identifier}}
paths:
  - {path: "secret/data/{tag}/{free}/*", capabilities: [read]}
  - {path: "secret/metadata/{tag}", capabilities: [list]}
ttl: {default: 15m, max: 1h}
`)
	pieces := rapid.SampledFrom([]string{"*", "?", "$", "${*}", "${aws:username}", "{bucket}", "/", "//", "..", ":", "::", "a", "b-c", "\n", "\"", ",",
		"arn:aws:s3:::", "\u2028", "%2a", " ", "+", "sys", "in", "\xff", "é", "*/",
		"b", "c", "d-e", "f.g", "h_", "1", "x", "Y"})
	resolved := 0
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) string {
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				return rapid.String().Draw(t, "text")
			case 1, 2, 3:
				return rapid.StringMatching(`[a-zA-Z0-9][a-z0-9_.:/-]{0,8}`).Draw(t, "likely")
			}
			return strings.Join(rapid.SliceOfN(pieces, 1, 4).Draw(t, "pieces"), "")
		})
		free, tag := value.Draw(t, "free"), value.Draw(t, "tag")
		bucket := rapid.SampledFrom([]string{"production", free}).Draw(t, "bucket")
		for i, c := range []*scopes.Catalog{aws, vault} {
			q := scopes.Query{Scope: "x", Params: params{"free": {free}, "tag": {tag}}}
			if i == 0 {
				q.Params["bucket"] = []string{bucket}
			}
			r, err := c.Resolve(q)
			if err != nil {
				if !errors.Is(err, scopes.ErrParameter) && !errors.Is(err, scopes.ErrTooLarge) || r.Valid() {
					t.Fatalf("%q: %v", q.Params, err)
				}
				continue
			}
			resolved++
			for _, resource := range r.Resources() {
				if !strings.HasPrefix(resource, "arn:aws:s3:::"+bucket+"/in/") && !strings.HasPrefix(resource, "secret/") || strings.Count(resource, "*") > 1 {
					t.Fatalf("%q became %q", q.Params, resource)
				}
			}
			if p := r.Permissions(); p.AWS != nil && !scopes.Within(iam.DialectAWS, *r.Scope().Ceiling().AWS, *p.AWS) {
				t.Fatalf("%q: the structural proof does not hold", q.Params)
			}
		}
	})
	if resolved < 10 {
		t.Errorf("%d requests resolved: the test tests too little", resolved)
	}
}
