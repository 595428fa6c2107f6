package scopes_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// A request over its scope's ceiling is none: no step can go on with it.
func TestOverItsOwnCeiling(t *testing.T) {
	values := params{"bucket": {"production"}, "prefix": {"app/"}, "team": {"app"}, "role": {"app"}}
	for scope, lower := range map[string]string{
		"s3-prefix-write": "s3-prefix-read", "s3-prefix-read": "s3-bucket-rebuild", "db-creds": "vault-kv-read", "vault-kv-read": "db-creds",
	} {
		c := example(t)
		s, _ := c.Scope(scope)
		to, _ := c.Scope(lower)
		q := scopes.Query{Scope: scope, Params: params{}}
		for _, p := range s.Params() {
			q.Params[p.Name] = values[p.Name]
		}
		if r, err := c.Resolve(q); err != nil || !r.Valid() {
			t.Fatal(err)
		}
		s.Lower(to)
		r, err := c.Resolve(q)
		if !errors.Is(err, scopes.ErrUnproven) || r.Valid() || !strings.Contains(err.Error(), "it would allow ") {
			t.Errorf("%s under the ceiling of %s: %v", scope, lower, err)
		}
	}
}

// The structural proof says no where the ceiling is lower, also by what no parameter touches.
func TestWithin(t *testing.T) {
	ceiling := func(edit func(*iam.Statement)) iam.Policy {
		s := iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::b/*"},
			Condition: map[string]map[string][]string{"StringLike": {"aws:PrincipalTag/a": {"x*"}}, "Bool": {"aws:SecureTransport": {"true"}}}}
		edit(&s)
		return iam.Policy{Version: iam.Version, Statements: []iam.Statement{s}}
	}
	same := ceiling(func(*iam.Statement) {})
	for name, x := range map[string]struct {
		edit func(*iam.Statement)
		want bool
	}{
		"the same":            {func(*iam.Statement) {}, true},
		"a narrower resource": {func(s *iam.Statement) { s.Resource = []string{"arn:aws:s3:::b/x/*", "arn:aws:s3:::b/y"} }, true},
		"a variable inside":   {func(s *iam.Statement) { s.Resource = []string{"arn:aws:s3:::b/${aws:userid}"} }, true},
		"another condition":   {func(s *iam.Statement) { s.Condition["Null"] = map[string][]string{"aws:userid": {"false"}} }, true},
		"a text for a pattern": {func(s *iam.Statement) {
			s.Condition["StringEquals"] = s.Condition["StringLike"]
			s.Condition["StringEquals"]["aws:PrincipalTag/a"] = []string{"x1"}
			delete(s.Condition, "StringLike")
		}, true},
		"a wider resource":       {func(s *iam.Statement) { s.Resource = append(s.Resource, "arn:aws:s3:::*") }, false},
		"a complement":           {func(s *iam.Statement) { s.NotResource, s.Resource = s.Resource, nil }, false},
		"another action":         {func(s *iam.Statement) { s.Action = []string{"s3:PutObject"} }, false},
		"a wider value":          {func(s *iam.Statement) { s.Condition["StringLike"]["aws:PrincipalTag/a"] = []string{"x1", "y*"} }, false},
		"a value of a text":      {func(s *iam.Statement) { s.Condition["Bool"]["aws:SecureTransport"] = []string{"false", "true"} }, false},
		"one condition less":     {func(s *iam.Statement) { delete(s.Condition, "Bool") }, false},
		"no condition":           {func(s *iam.Statement) { s.Condition = nil }, false},
		"a condition IfExists":   {func(s *iam.Statement) { s.Condition["BoolIfExists"] = s.Condition["Bool"]; delete(s.Condition, "Bool") }, false},
		"everybody":              {func(s *iam.Statement) { s.Principal = map[string][]string{"*": {"*"}} }, false},
		"a Deny":                 {func(s *iam.Statement) { s.Effect = iam.Deny }, false},
		"no resource, so to say": {func(s *iam.Statement) { s.Resource = nil }, false},
	} {
		if got := scopes.Within(iam.DialectAWS, same, ceiling(x.edit)); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	twice := ceiling(func(*iam.Statement) {})
	twice.Statements = append(twice.Statements, twice.Statements[0])
	old := ceiling(func(*iam.Statement) {})
	old.Version = iam.Version2008
	if scopes.Within(iam.DialectAWS, same, twice) || scopes.Within(iam.DialectAWS, same, old) || scopes.Within(iam.DialectAWS, same, iam.Policy{}) {
		t.Error("a policy of another shape is within")
	}
}
