package iam_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

func mustParse(t testing.TB, text string) iam.Policy {
	t.Helper()
	p, err := iam.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":%q,"Resource":%q}}`, action, resource)
}

const get, object = "s3:GetObject", "arn:aws:s3:::b/k"

// Each condition stands in an Allow and in a Deny. What cannot be told fails the request in both.
func TestConditions(t *testing.T) {
	type ctx = map[string][]string
	const (
		false_ = iota
		true_
		open
	)
	for _, c := range []struct {
		condition string
		context   ctx
		want      int
	}{
		{`{"StringEquals":{"x:k":"a"}}`, ctx{"x:k": {"a"}}, true_},
		{`{"StringEquals":{"x:k":"a"}}`, ctx{"x:K": {"a"}}, true_},
		{`{"stringequals":{"x:K":"a"}}`, ctx{"x:k": {"a"}}, true_},
		{`{"StringEquals":{"x:k":"a"}}`, ctx{"x:k": {"A"}}, false_},
		{`{"StringEquals":{"x:k":"a*"}}`, ctx{"x:k": {"ab"}}, false_},
		{`{"StringEquals":{"x:k":["a","b"]}}`, ctx{"x:k": {"b"}}, true_},
		{`{"StringEquals":{"x:k":"a","x:l":"b"}}`, ctx{"x:k": {"a"}}, false_},
		{`{"StringEquals":{"x:k":"a"}}`, nil, false_},
		{`{"StringNotEquals":{"x:k":["a","b"]}}`, ctx{"x:k": {"b"}}, false_},
		{`{"StringNotEquals":{"x:k":["a","b"]}}`, ctx{"x:k": {"c"}}, true_},
		{`{"StringNotEquals":{"x:k":"a"}}`, nil, true_},
		{`{"StringEqualsIfExists":{"x:k":"a"}}`, nil, true_},
		{`{"StringEqualsIfExists":{"x:k":"a"}}`, ctx{"x:k": {"b"}}, false_},
		{`{"StringEqualsIfExists":{"x:k":"a"}}`, ctx{"x:k": {}}, open},
		{`{"StringEqualsIgnoreCase":{"x:k":"Ä"}}`, ctx{"x:k": {"ä"}}, open},
		{`{"StringEqualsIgnoreCase":{"x:k":"ÄB"}}`, ctx{"x:k": {"Äb"}}, true_},
		{`{"StringNotEqualsIgnoreCase":{"x:k":"A"}}`, ctx{"x:k": {"a"}}, false_},
		{`{"StringLike":{"x:k":"a?c*"}}`, ctx{"x:k": {"abcd"}}, true_},
		{`{"StringNotLike":{"x:k":"a?c*"}}`, ctx{"x:k": {"abd"}}, true_},
		{`{"StringLike":{"x:k":"a${*}"}}`, ctx{"x:k": {"ab"}}, false_},
		{`{"StringLike":{"x:k":"a${*}"}}`, ctx{"x:k": {"a*"}}, true_},
		// Several values without a quantifier.
		{`{"StringEquals":{"x:k":"a"}}`, ctx{"x:k": {"b", "a"}}, open},
		{`{"StringNotEquals":{"x:k":"a"}}`, ctx{"x:k": {"b", "a"}}, open},
		// Quantifiers.
		{`{"ForAllValues:StringEquals":{"x:k":["a","b"]}}`, ctx{"x:k": {"b", "a"}}, true_},
		{`{"ForAllValues:StringEquals":{"x:k":["a","b"]}}`, ctx{"x:k": {"b", "c"}}, false_},
		{`{"ForAllValues:StringEquals":{"x:k":"a"}}`, nil, true_},
		{`{"ForAllValues:StringEquals":{"x:k":"a"}}`, ctx{"x:k": {}}, true_},
		{`{"ForAllValues:StringEquals":{"x:k":"a"}}`, ctx{"x:k": {""}}, open},
		{`{"ForAllValues:StringNotEquals":{"x:k":"a"}}`, ctx{"x:k": {"b", "a"}}, false_},
		{`{"ForAnyValue:StringEquals":{"x:k":"a"}}`, ctx{"x:k": {"b", "a"}}, true_},
		{`{"ForAnyValue:StringNotEquals":{"x:k":"a"}}`, ctx{"x:k": {"b", "a"}}, true_},
		{`{"ForAnyValue:StringNotEquals":{"x:k":"a"}}`, ctx{"x:k": {"a"}}, false_},
		{`{"ForAnyValue:StringEquals":{"x:k":"a"}}`, nil, false_},
		{`{"ForAnyValue:StringNotEquals":{"x:k":"a"}}`, nil, false_},
		{`{"ForAnyValue:StringEquals":{"x:k":"a"}}`, ctx{"x:k": {}}, false_},
		{`{"ForAnyValue:StringEqualsIfExists":{"x:k":"a"}}`, nil, open},
		// Null.
		{`{"Null":{"x:k":"true"}}`, nil, true_},
		{`{"Null":{"x:k":true}}`, ctx{"x:k": {}}, open},
		{`{"Null":{"x:k":"true"}}`, ctx{"x:k": {""}}, open},
		{`{"Null":{"x:k":"False"}}`, ctx{"x:k": {"x"}}, open},
		{`{"Null":{"x:k":"false"}}`, nil, false_},
		{`{"Null":{"x:k":["false","true"]}}`, nil, true_},
		// Numbers.
		{`{"NumericEquals":{"x:k":"10.0"}}`, ctx{"x:k": {"+010"}}, true_},
		{`{"NumericEquals":{"x:k":"9007199254740993"}}`, ctx{"x:k": {"9007199254740992"}}, false_},
		{`{"NumericLessThan":{"x:k":10}}`, ctx{"x:k": {"9"}}, true_},
		{`{"NumericLessThan":{"x:k":10}}`, ctx{"x:k": {"10"}}, false_},
		{`{"NumericLessThanEquals":{"x:k":10}}`, ctx{"x:k": {"10"}}, true_},
		{`{"NumericGreaterThan":{"x:k":-1.5}}`, ctx{"x:k": {"-1.25"}}, true_},
		{`{"NumericGreaterThanEquals":{"x:k":-0}}`, ctx{"x:k": {"0"}}, true_},
		{`{"NumericNotEquals":{"x:k":1}}`, ctx{"x:k": {"2"}}, true_},
		{`{"NumericNotEquals":{"x:k":1}}`, ctx{"x:k": {"x"}}, open},
		{`{"NumericEquals":{"x:k":1}}`, ctx{"x:k": {"1e0"}}, open},
		{`{"ForAnyValue:NumericEquals":{"x:k":1}}`, ctx{"x:k": {"x", "1"}}, true_},
		// Dates.
		{`{"DateLessThan":{"x:k":"2026-11-23T12:00:00Z"}}`, ctx{"x:k": {"2026-11-23T12:59:59+01:00"}}, true_},
		{`{"DateGreaterThan":{"x:k":"2026-11-23T12:00:00Z"}}`, ctx{"x:k": {"2026-11-23T12:00:00Z"}}, false_},
		{`{"DateGreaterThanEquals":{"x:k":"2026-11-23"}}`, ctx{"x:k": {"2026-11-23T00:00Z"}}, open},
		{`{"DateEquals":{"x:k":"2026-11-23T12:00:00.5Z"}}`, ctx{"x:k": {"1795435200.5"}}, true_},
		{`{"DateEquals":{"x:k":1795435200}}`, ctx{"x:k": {"2026-11-23T12:00:00Z"}}, true_},
		{`{"DateNotEquals":{"x:k":"2026-11"}}`, ctx{"x:k": {"2026-11-30T23:59:59Z"}}, open},
		{`{"DateGreaterThan":{"x:k":"2026-11"}}`, ctx{"x:k": {"2026-12-01T00:00:00Z"}}, true_},
		{`{"DateLessThanEquals":{"x:k":"2026-11-23T12:00:00Z"}}`, ctx{"x:k": {"2026-11-23 12:00:00"}}, open},
		// Booleans, binaries, networks.
		{`{"Bool":{"x:k":true}}`, ctx{"x:k": {"TRUE"}}, open},
		{`{"Bool":{"x:k":"True"}}`, ctx{"x:k": {"true"}}, open},
		{`{"Bool":{"x:k":"True"}}`, ctx{"x:k": {"false"}}, false_},
		{`{"Bool":{"x:k":"false"}}`, nil, false_},
		{`{"BoolIfExists":{"x:k":"false"}}`, nil, true_},
		{`{"Bool":{"x:k":"false"}}`, ctx{"x:k": {"1"}}, open},
		{`{"BinaryEquals":{"x:k":"QmluYXJ5"}}`, ctx{"x:k": {"QmluYXJ5"}}, true_},
		{`{"BinaryEquals":{"x:k":"QmluYXJ5"}}`, ctx{"x:k": {"Binary"}}, open},
		{`{"IpAddress":{"x:k":"203.0.113.0/24"}}`, ctx{"x:k": {"203.0.113.255"}}, true_},
		{`{"IpAddress":{"x:k":"203.0.113.7/24"}}`, ctx{"x:k": {"203.0.113.1"}}, open},
		{`{"IpAddress":{"x:k":"203.0.113.7/24"}}`, ctx{"x:k": {"203.0.114.1"}}, false_},
		{`{"IpAddress":{"x:k":"203.0.113.0/24"}}`, ctx{"x:k": {"::ffff:203.0.113.1"}}, open},
		{`{"IpAddress":{"x:k":"2001:db8::1"}}`, ctx{"x:k": {"2001:db8::1"}}, true_},
		{`{"IpAddress":{"x:k":"2001:db8::1"}}`, ctx{"x:k": {"2001:db8::2"}}, open},
		{`{"IpAddress":{"x:k":"2001:db8::1"}}`, ctx{"x:k": {"2001:db9::1"}}, false_},
		{`{"IpAddress":{"x:k":"203.0.113.7"}}`, ctx{"x:k": {"203.0.113.8"}}, false_},
		{`{"IpAddress":{"x:k":"2001:db8::/32"}}`, ctx{"x:k": {"2001:DB8:0::1"}}, true_},
		{`{"IpAddress":{"x:k":"0.0.0.0/0"}}`, ctx{"x:k": {"::1"}}, false_},
		{`{"NotIpAddress":{"x:k":"203.0.113.0/24"}}`, ctx{"x:k": {"203.0.114.0"}}, true_},
		{`{"NotIpAddress":{"x:k":"203.0.113.0/24"}}`, nil, true_},
		{`{"NotIpAddress":{"x:k":"203.0.113.0/24"}}`, ctx{"x:k": {"AWS Internal"}}, open},
		// ARNs.
		{`{"ArnEquals":{"x:k":"arn:aws:iam::*:role/x*"}}`, ctx{"x:k": {"arn:aws:iam::1:role/xy"}}, true_},
		{`{"ArnLike":{"x:k":"arn:aws:iam::*:role/x"}}`, ctx{"x:k": {"arn:aws:iam::1:user/a:role/x"}}, false_},
		{`{"ArnNotLike":{"x:k":"arn:aws:iam::1:role/x"}}`, nil, true_},
		{`{"ArnNotEquals":{"x:k":"arn:aws:iam::1:role/x"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}}, false_},
		// Variables.
		{`{"StringEquals":{"x:k":"${x:v}/x"}}`, ctx{"x:k": {"ab/x"}, "X:V": {"ab"}}, true_},
		{`{"StringEquals":{"x:k":"${x:v}/x"}}`, ctx{"x:k": {"a*/x"}, "X:V": {"a*"}}, open},
		{`{"StringLike":{"x:k":"${x:v}*"}}`, ctx{"x:k": {"abc"}, "x:v": {"a*"}}, open},
		{`{"StringEqualsIgnoreCase":{"x:k":"${x:v}B"}}`, ctx{"x:k": {"ab"}, "x:v": {"A"}}, true_},
		{`{"StringEquals":{"x:k":"${aws:PrincipalTag/team, 'all'}"}}`, ctx{"x:k": {"all"}}, true_},
		{`{"StringEquals":{"x:k":"${aws:PrincipalTag/team,'all'}"}}`, ctx{"x:k": {"red"}, "aws:principaltag/team": {"red"}}, true_},
		{`{"StringEquals":{"x:k":"${x:v}"}}`, ctx{"x:k": {"${x:v}"}}, false_},
		{`{"StringNotEquals":{"x:k":"${x:v}"}}`, ctx{"x:k": {"a"}}, true_},
		{`{"StringNotEquals":{"x:k":"${x:v}"}}`, ctx{"x:k": {"a"}, "x:v": {"b", "c"}}, open},
		{`{"StringEquals":{"x:k":["${x:v}","a"]}}`, ctx{"x:k": {"a"}, "x:v": {"b", "c"}}, open},
		{`{"StringEquals":{"x:k":["${x:v}","a"]}}`, ctx{"x:k": {"a"}}, open},
		{`{"StringNotEquals":{"x:k":["${x:v}","a"]}}`, ctx{"x:k": {"b"}}, open},
		{`{"ArnNotLike":{"x:k":"arn:aws:iam::${x:v}:role/x"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}}, open},
		{`{"StringEqualsIfExists":{"x:k":"${x:v}"}}`, nil, open},
		{`{"StringEquals":{"x:k":"${x:v}"}}`, ctx{"x:k": {""}, "x:v": {""}}, open},
		{`{"StringEquals":{"x:k":"${aws:TagKeys}"}}`, ctx{"x:k": {"a"}, "aws:TagKeys": {"a"}}, open},
		{`{"ForAllValues:StringNotEquals":{"x:k":"a"}}`, nil, open},
		{`{"StringEquals":{"aws:TagKeys":"a"}}`, ctx{"aws:TagKeys": {"a"}}, open},
		{`{"StringEquals":{"aws:TagKeys":"a"}}`, ctx{"aws:TagKeys": {"b", "c"}}, false_},
		{`{"ArnLike":{"x:k":"*"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}}, open},
		{`{"ArnLike":{"x:k":"arn:aws:iam"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}}, open},
		{`{"ArnLike":{"x:k":"arn:aws:iam"}}`, ctx{"x:k": {"arn:aws:s3:::b"}}, false_},
		{`{"ArnNotLike":{"x:k":"arn:aws:iam::1:*"}}`, ctx{"x:k": {"role/x"}}, open},
		{`{"StringEquals":{"x:k":"a$b"}}`, ctx{"x:k": {"a$b"}}, open},
		{`{"ArnLike":{"x:k":"arn:aws:iam::${x:v}:role/*"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}, "x:v": {"1"}}, true_},
		{`{"ArnEquals":{"x:k":"${x:v}"}}`, ctx{"x:k": {"arn:aws:iam::1:role/x"}, "x:v": {"arn:aws:iam::1:role/x"}}, true_},
		{`{"ArnLike":{"x:k":"${x:v}:*:role/x"}}`, ctx{"x:k": {"arn:aws:iam::1:2:role/x"}, "x:v": {"arn:aws:iam:"}}, false_},
	} {
		one := func(effect string) string {
			return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":%s}}`, effect, c.condition)
		}
		r := iam.Request{Action: get, Resource: object, Context: c.context}
		inAllow, err := iam.Allows(iam.DialectAWS, []iam.Policy{mustParse(t, one("Allow"))}, nil, nil, r)
		if want := c.want == true_; err != nil || (inAllow.Verdict == iam.Allowed) != want {
			t.Errorf("allow if %s over %v: %s, %v", c.condition, c.context, inAllow.Verdict, err)
		}
		inDeny, err := iam.Allows(iam.DialectAWS, []iam.Policy{mustParse(t, allow("*", "*")), mustParse(t, one("Deny"))}, nil, nil, r)
		if want := c.want != false_; err != nil || (inDeny.Verdict == iam.ExplicitDeny) != want {
			t.Errorf("deny if %s over %v: %s, %v", c.condition, c.context, inDeny.Verdict, err)
		}
	}
}

func TestResourceVariables(t *testing.T) {
	const not = `{"Version":"2012-10-17","Statement":[{"Effect":%q,"Action":"*","NotResource":"arn:aws:s3:::b/${x:v}"},{"Effect":"Allow","Action":"x:y","Resource":"*"}]}`
	for _, c := range []struct {
		policy string
		v      []string // nil is missing
		want   iam.Verdict
	}{
		{allow("*", "arn:aws:s3:::b/${x:v}"), []string{"k"}, iam.Allowed},
		{allow("*", "arn:aws:s3:::b/${x:v}"), []string{"*"}, iam.ImplicitDeny},
		{allow("*", "arn:aws:s3:::b/${x:v}*"), []string{""}, iam.ImplicitDeny}, // an empty value may be none
		{allow("*", "arn:aws:s3:::b/${x:v}*"), nil, iam.ImplicitDeny},
		{allow("*", "arn:aws:s3:::b/${x:v, 'k'}"), nil, iam.Allowed},
		{allow("*", "arn:aws:s3:::b/${x:v, 'k'}"), []string{"k", "l"}, iam.ImplicitDeny},
		{allow("*", "arn:aws:s3::${x:v}:b/k"), []string{"1"}, iam.ImplicitDeny},
		{strings.Replace(allow("*", "arn:aws:s3:::b/${x:v}"), "2012", "2008", 1), []string{"k"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Allow"), nil, iam.ImplicitDeny}, // the statement may be invalid
		{fmt.Sprintf(not, "Allow"), []string{""}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Deny"), nil, iam.ExplicitDeny},
		{fmt.Sprintf(not, "Allow"), []string{"k"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Allow"), []string{"l"}, iam.Allowed},
		{fmt.Sprintf(not, "Allow"), []string{"l", "m"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Deny"), []string{"l", "m"}, iam.ExplicitDeny},
	} {
		r := iam.Request{Action: get, Resource: object}
		if c.v != nil {
			r.Context = map[string][]string{"x:v": c.v}
		}
		d, err := iam.Allows(iam.DialectAWS, []iam.Policy{mustParse(t, c.policy)}, nil, nil, r)
		if err != nil || d.Verdict != c.want {
			t.Errorf("%s with v = %q: %s, %v, want %s", c.policy, c.v, d.Verdict, err, c.want)
		}
	}
}

func TestLayers(t *testing.T) {
	all, gets, none := mustParse(t, allow("*", "*")), mustParse(t, allow(get, "*")), mustParse(t, allow("sqs:*", "*"))
	deny := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Sid":"No","Effect":"Deny","Action":"s3:*","Resource":"*"}]}`)
	ref := func(policy, sid, effect string) iam.Ref { return iam.Ref{Policy: policy, Sid: sid, Effect: effect} }
	for name, c := range map[string]struct {
		identity          []iam.Policy
		session, boundary *iam.Policy
		want              iam.Decision
	}{
		"nothing":     {nil, nil, nil, iam.Decision{Layer: "identity", Statements: []iam.Ref{}}},
		"one of two":  {[]iam.Policy{none, gets}, nil, nil, iam.Decision{Verdict: iam.Allowed, Statements: []iam.Ref{ref("identity[1]", "", "Allow")}}},
		"every layer": {[]iam.Policy{all}, &gets, &all, iam.Decision{Verdict: iam.Allowed, Statements: []iam.Ref{ref("identity[0]", "", "Allow"), ref("boundary", "", "Allow"), ref("session", "", "Allow")}}},
		"no identity": {nil, &all, &all, iam.Decision{Layer: "identity", Statements: []iam.Ref{}}},
		"no boundary": {[]iam.Policy{all}, &none, &none, iam.Decision{Layer: "boundary", Statements: []iam.Ref{}}},
		"no session":  {[]iam.Policy{all}, &none, &all, iam.Decision{Layer: "session", Statements: []iam.Ref{}}},
		"deny":        {[]iam.Policy{all, deny}, &none, nil, iam.Decision{Verdict: iam.ExplicitDeny, Statements: []iam.Ref{ref("identity[1]", "No", "Deny")}}},
		"denies":      {[]iam.Policy{all}, &deny, &deny, iam.Decision{Verdict: iam.ExplicitDeny, Statements: []iam.Ref{ref("boundary", "No", "Deny"), ref("session", "No", "Deny")}}},
	} {
		d, err := iam.Allows(iam.DialectAWS, c.identity, c.session, c.boundary, iam.Request{Action: get, Resource: object})
		if err != nil || !reflect.DeepEqual(d, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, d, err, c.want)
		}
	}
	if d, err := new(iam.Evaluator).Allows(iam.Request{Action: get, Resource: object}); err != nil || d.Layer != "identity" {
		t.Errorf("zero evaluator: %+v, %v", d, err)
	}
}

func TestMalformed(t *testing.T) {
	p := mustParse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"x:k":"true"}}}}`)
	for name, r := range map[string]iam.Request{
		"no action":     {Resource: object},
		"no service":    {Action: "GetObject", Resource: object},
		"wild action":   {Action: "s3:*", Resource: object},
		"no resource":   {Action: get},
		"two spellings": {Action: get, Resource: object, Context: map[string][]string{"aws:k": nil, "AWS:K": nil}},
	} {
		if d, err := iam.Allows(iam.DialectAWS, []iam.Policy{p}, nil, nil, r); !errors.Is(err, iam.ErrRequest) || d.Verdict != iam.ImplicitDeny {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	principal := mustParse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	for name, bad := range map[string]iam.Policy{"empty": {}, "principal": principal, "operator": {Statements: []iam.Statement{{
		Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}, Condition: map[string]map[string][]string{"StringIs": {"x:k": {"v"}}}}}}} {
		if _, err := iam.Allows(iam.DialectAWS, []iam.Policy{p}, &bad, nil, iam.Request{Action: get, Resource: object}); !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecisionAsJSON(t *testing.T) {
	d, err := iam.Allows(iam.DialectAWS, []iam.Policy{mustParse(t, allow("*", "*"))}, nil, nil, iam.Request{Action: get, Resource: object})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(d)
	if want := `{"verdict":"allow","statements":[{"policy":"identity[0]","index":0,"sid":"","effect":"Allow"}]}`; err != nil || string(b) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, b, want)
	}
}

// Whatever parses evaluates, and an explicit Deny in front never makes it less of a deny.
func FuzzAllows(f *testing.F) {
	f.Add(full, get, object, "aws:username", "x")
	f.Add(allow("s3:*", "arn:aws:s3:::b/${aws:username}/*"), get, "arn:aws:s3:::b/x/y", "AWS:username", "x")
	for _, c := range vectors(f) {
		for _, p := range c.Identity {
			text, err := p.Marshal()
			if err != nil {
				f.Fatal(err)
			}
			for k, vs := range c.Request.Context {
				f.Add(string(text), c.Request.Action, c.Request.Resource, k, strings.Join(vs, ","))
			}
		}
	}
	deny := iam.Policy{Statements: []iam.Statement{{Effect: iam.Deny, Action: []string{"*"}, Resource: []string{"*"}}}}
	f.Fuzz(func(t *testing.T, text, action, resource, key, values string) {
		p, err := iam.Parse([]byte(text))
		if err != nil {
			return
		}
		for i := range p.Statements {
			p.Statements[i].Principal, p.Statements[i].NotPrincipal = nil, nil
		}
		r := iam.Request{Action: action, Resource: resource, Context: map[string][]string{key: strings.Split(values, ",")}}
		e, err := iam.Compile(iam.DialectAWS, []iam.Policy{p}, nil, nil)
		if err != nil {
			if p.Validate() == nil {
				t.Fatalf("valid, and does not compile: %v", err)
			}
			return
		}
		d, err := e.Allows(r)
		if err != nil && !errors.Is(err, iam.ErrRequest) {
			t.Fatal(err)
		}
		if again, err2 := e.Allows(r); !reflect.DeepEqual(d, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%v, then %v", d, again)
		}
		if under, err2 := iam.Allows(iam.DialectAWS, []iam.Policy{p}, nil, &deny, r); err == nil && (err2 != nil || under.Verdict != iam.ExplicitDeny) {
			t.Fatalf("under a Deny: %v, %v", under, err2)
		}
	})
}
