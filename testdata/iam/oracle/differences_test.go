package oracle

import (
	"fmt"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// guide is where the pages below are.
const guide = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"

// What the two disagree on, one row a class. TestAgrees makes none of these; a row on which they come to agree fails, so
// that the list stays true. Each page is what decided for our answer.
func TestKnownDifferences(t *testing.T) {
	type ctx = map[string][]string
	resource := func(r string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":%q}}`, r)
	}
	condition := func(c string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":%s}}`, c)
	}
	deny := func(c string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":%s}]}`, c)
	}
	const (
		k          = "arn:aws:s3:::b/k"
		variables  = guide + "reference_policies_variables.html"
		operators  = guide + "reference_policies_elements_condition_operators.html"
		resources  = guide + "reference_policies_elements_resource.html"
		multivalue = guide + "reference_policies_condition-single-vs-multi-valued-context-keys.html"
	)
	for _, c := range []struct {
		name, page, policy, resource string
		context                      ctx
		want, oracle                 iam.Verdict
	}{
		{"${*} is a star that stands for itself", variables, resource("arn:aws:s3:::b/${*}"), "arn:aws:s3:::b/${k}", nil, iam.ImplicitDeny, iam.Allowed},
		{"a variable may have a default", variables, resource("arn:aws:s3:::b/${aws:username, 'k'}"), k, nil, iam.Allowed, iam.ImplicitDeny},
		{"a tag's key is a variable", variables, resource("arn:aws:s3:::b/${aws:PrincipalTag/team}"), k, ctx{"aws:PrincipalTag/team": {"k"}}, iam.Allowed, iam.ImplicitDeny},
		{"a variable without a value matches no resource, not even its own text", variables, resource("arn:aws:s3:::b/${aws:username}"), "arn:aws:s3:::b/${aws:username}", nil, iam.ImplicitDeny, iam.Allowed},
		{"a wildcard in a variable's value stands for itself; AWS does not say, and it keeps tags from having one", variables, resource("arn:aws:s3:::b/${aws:username}"), k, ctx{"aws:username": {"*"}}, iam.ImplicitDeny, iam.Allowed},
		{"a variable counts only after the fifth colon", variables, resource("arn:aws:s3::${aws:username}:b/k"), "arn:aws:s3::1:b/k", ctx{"aws:username": {"1"}}, iam.ImplicitDeny, iam.Allowed},
		{"a multivalued key is no variable; AWS does not say what a negated operator does then, so the request fails", multivalue,
			condition(`{"StringNotEquals":{"x:x":"${x:y}"}}`), k, ctx{"x:x": {"a"}, "x:y": {"b", "c"}}, iam.ImplicitDeny, iam.Allowed},
		{"? is one character, however many bytes", resources, resource("arn:aws:s3:::b/??"), "arn:aws:s3:::b/é", nil, iam.ImplicitDeny, iam.Allowed},
		{"a star inside a segment stays in it", resources, resource("arn:aws:s*3:::b/k"), "arn:aws:sqs:3:::b/k", nil, iam.ImplicitDeny, iam.Allowed},
		{"a star in the resource's name is a character like any other, and a star matches it and what follows", resources,
			resource("arn:aws:s3:::b/*k"), "arn:aws:s3:::b/*ak", nil, iam.Allowed, iam.ImplicitDeny},
		{"an ARN condition checks each segment on its own", operators, condition(`{"ArnLike":{"x:x":"arn:aws:iam::*:role/r"}}`), k,
			ctx{"x:x": {"arn:aws:iam::1:user/u:role/r"}}, iam.ImplicitDeny, iam.Allowed},
		{"ForAnyValue over a missing key is false, negated too", multivalue, condition(`{"ForAnyValue:StringNotEquals":{"x:x":"a"}}`), k, nil, iam.ImplicitDeny, iam.Allowed},
		{"ForAnyValue with IfExists over a missing key: AWS does not say, so the request fails", multivalue,
			condition(`{"ForAnyValue:StringEqualsIfExists":{"x:x":"a"}}`), k, nil, iam.ImplicitDeny, iam.Allowed},
		{"a key without values and IfExists in a Deny: AWS does not say, so the request fails", operators,
			deny(`{"StringEqualsIfExists":{"x:x":"a"}}`), k, ctx{"x:x": {}}, iam.ExplicitDeny, iam.Allowed},
		{"dates are the W3C's, so a day is one", operators, condition(`{"DateLessThan":{"x:x":"2026-11-24"}}`), k, ctx{"x:x": {"2026-11-23T00:00:00Z"}}, iam.Allowed, iam.ImplicitDeny},
		{"numbers are exact", operators, condition(`{"NumericEquals":{"x:x":"9007199254740993"}}`), k, ctx{"x:x": {"9007199254740992"}}, iam.ImplicitDeny, iam.Allowed},
		{"a value that is no number: AWS does not say, so the request fails", operators, condition(`{"NumericNotEquals":{"x:x":"1"}}`), k, ctx{"x:x": {"y"}}, iam.ImplicitDeny, iam.Allowed},
		{"an empty value as a variable may be none: AWS does not say, so the request fails", variables, resource("arn:aws:s3:::b/${aws:username}k"), k, ctx{"aws:username": {""}}, iam.ImplicitDeny, iam.Allowed},
		{"an operator's case does not count", operators, condition(`{"stringequals":{"x:x":"a"}}`), k, ctx{"x:x": {"a"}}, iam.Allowed, iam.ExplicitDeny},
	} {
		r := iam.Request{Action: "s3:GetObject", Resource: c.resource, Context: c.context}
		got, err := iam.Allows(iam.DialectAWS, parse(t, c.policy), nil, nil, r)
		if err != nil || got.Verdict != c.want {
			t.Errorf("%s (%s): %s, %v, want %s", c.name, c.page, got.Verdict, err, c.want)
		}
		if other := combine(evaluate([]string{c.policy}, r)); other != c.oracle {
			t.Errorf("%s (%s): the oracle says %s, not %s", c.name, c.page, other, c.oracle)
		}
		if c.want == c.oracle {
			t.Errorf("%s: no difference", c.name)
		}
	}
}
