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
		{`{"StringEquals":{"k":"a"}}`, ctx{"k": {"a"}}, true_},
		{`{"StringEquals":{"k":"a"}}`, ctx{"K": {"a"}}, true_},
		{`{"stringequals":{"K":"a"}}`, ctx{"k": {"a"}}, true_},
		{`{"StringEquals":{"k":"a"}}`, ctx{"k": {"A"}}, false_},
		{`{"StringEquals":{"k":"a*"}}`, ctx{"k": {"ab"}}, false_},
		{`{"StringEquals":{"k":["a","b"]}}`, ctx{"k": {"b"}}, true_},
		{`{"StringEquals":{"k":"a","l":"b"}}`, ctx{"k": {"a"}}, false_},
		{`{"StringEquals":{"k":"a"}}`, nil, false_},
		{`{"StringNotEquals":{"k":["a","b"]}}`, ctx{"k": {"b"}}, false_},
		{`{"StringNotEquals":{"k":["a","b"]}}`, ctx{"k": {"c"}}, true_},
		{`{"StringNotEquals":{"k":"a"}}`, nil, true_},
		{`{"StringEqualsIfExists":{"k":"a"}}`, nil, true_},
		{`{"StringEqualsIfExists":{"k":"a"}}`, ctx{"k": {"b"}}, false_},
		{`{"StringEqualsIfExists":{"k":"a"}}`, ctx{"k": {}}, open},
		{`{"StringEqualsIgnoreCase":{"k":"Ä"}}`, ctx{"k": {"ä"}}, true_},
		{`{"StringNotEqualsIgnoreCase":{"k":"A"}}`, ctx{"k": {"a"}}, false_},
		{`{"StringLike":{"k":"a?c*"}}`, ctx{"k": {"abcd"}}, true_},
		{`{"StringNotLike":{"k":"a?c*"}}`, ctx{"k": {"abd"}}, true_},
		{`{"StringLike":{"k":"a${*}"}}`, ctx{"k": {"ab"}}, false_},
		{`{"StringLike":{"k":"a${*}"}}`, ctx{"k": {"a*"}}, true_},
		// Several values without a quantifier.
		{`{"StringEquals":{"k":"a"}}`, ctx{"k": {"b", "a"}}, true_},
		{`{"StringNotEquals":{"k":"a"}}`, ctx{"k": {"b", "a"}}, false_},
		// Quantifiers.
		{`{"ForAllValues:StringEquals":{"k":["a","b"]}}`, ctx{"k": {"b", "a"}}, true_},
		{`{"ForAllValues:StringEquals":{"k":["a","b"]}}`, ctx{"k": {"b", "c"}}, false_},
		{`{"ForAllValues:StringEquals":{"k":"a"}}`, nil, true_},
		{`{"ForAllValues:StringEquals":{"k":"a"}}`, ctx{"k": {}}, true_},
		{`{"ForAllValues:StringEquals":{"k":"a"}}`, ctx{"k": {""}}, false_},
		{`{"ForAllValues:StringNotEquals":{"k":"a"}}`, ctx{"k": {"b", "a"}}, false_},
		{`{"ForAnyValue:StringEquals":{"k":"a"}}`, ctx{"k": {"b", "a"}}, true_},
		{`{"ForAnyValue:StringNotEquals":{"k":"a"}}`, ctx{"k": {"b", "a"}}, true_},
		{`{"ForAnyValue:StringNotEquals":{"k":"a"}}`, ctx{"k": {"a"}}, false_},
		{`{"ForAnyValue:StringEquals":{"k":"a"}}`, nil, false_},
		{`{"ForAnyValue:StringNotEquals":{"k":"a"}}`, nil, false_},
		{`{"ForAnyValue:StringEquals":{"k":"a"}}`, ctx{"k": {}}, false_},
		{`{"ForAnyValue:StringEqualsIfExists":{"k":"a"}}`, nil, open},
		// Null.
		{`{"Null":{"k":"true"}}`, nil, true_},
		{`{"Null":{"k":true}}`, ctx{"k": {}}, true_},
		{`{"Null":{"k":"true"}}`, ctx{"k": {""}}, false_},
		{`{"Null":{"k":"False"}}`, ctx{"k": {"x"}}, true_},
		{`{"Null":{"k":"false"}}`, nil, false_},
		{`{"Null":{"k":["false","true"]}}`, nil, true_},
		// Numbers.
		{`{"NumericEquals":{"k":"10.0"}}`, ctx{"k": {"+010"}}, true_},
		{`{"NumericEquals":{"k":"9007199254740993"}}`, ctx{"k": {"9007199254740992"}}, false_},
		{`{"NumericLessThan":{"k":10}}`, ctx{"k": {"9"}}, true_},
		{`{"NumericLessThan":{"k":10}}`, ctx{"k": {"10"}}, false_},
		{`{"NumericLessThanEquals":{"k":10}}`, ctx{"k": {"10"}}, true_},
		{`{"NumericGreaterThan":{"k":-1.5}}`, ctx{"k": {"-1.25"}}, true_},
		{`{"NumericGreaterThanEquals":{"k":-0}}`, ctx{"k": {"0"}}, true_},
		{`{"NumericNotEquals":{"k":1}}`, ctx{"k": {"2"}}, true_},
		{`{"NumericNotEquals":{"k":1}}`, ctx{"k": {"x"}}, open},
		{`{"NumericEquals":{"k":1}}`, ctx{"k": {"1e0"}}, open},
		{`{"ForAnyValue:NumericEquals":{"k":1}}`, ctx{"k": {"x", "1"}}, true_},
		// Dates.
		{`{"DateLessThan":{"k":"2026-11-23T12:00:00Z"}}`, ctx{"k": {"2026-11-23T12:59:59+01:00"}}, true_},
		{`{"DateGreaterThan":{"k":"2026-11-23T12:00:00Z"}}`, ctx{"k": {"2026-11-23T12:00:00Z"}}, false_},
		{`{"DateGreaterThanEquals":{"k":"2026-11-23"}}`, ctx{"k": {"2026-11-23T00:00Z"}}, true_},
		{`{"DateEquals":{"k":"2026-11-23T12:00:00.5Z"}}`, ctx{"k": {"1795435200.5"}}, true_},
		{`{"DateEquals":{"k":1795435200}}`, ctx{"k": {"2026-11-23T12:00:00Z"}}, true_},
		{`{"DateNotEquals":{"k":"2026-11"}}`, ctx{"k": {"2026-11-01T00:00:00Z"}}, false_},
		{`{"DateLessThanEquals":{"k":"2026-11-23T12:00:00Z"}}`, ctx{"k": {"2026-11-23 12:00:00"}}, open},
		// Booleans, binaries, networks.
		{`{"Bool":{"k":true}}`, ctx{"k": {"TRUE"}}, true_},
		{`{"Bool":{"k":"false"}}`, nil, false_},
		{`{"BoolIfExists":{"k":"false"}}`, nil, true_},
		{`{"Bool":{"k":"false"}}`, ctx{"k": {"1"}}, open},
		{`{"BinaryEquals":{"k":"QmluYXJ5"}}`, ctx{"k": {"QmluYXJ5"}}, true_},
		{`{"BinaryEquals":{"k":"QmluYXJ5"}}`, ctx{"k": {"Binary"}}, open},
		{`{"IpAddress":{"k":"203.0.113.0/24"}}`, ctx{"k": {"203.0.113.255"}}, true_},
		{`{"IpAddress":{"k":"203.0.113.7/24"}}`, ctx{"k": {"::ffff:203.0.113.1"}}, true_},
		{`{"IpAddress":{"k":"203.0.113.7"}}`, ctx{"k": {"203.0.113.8"}}, false_},
		{`{"IpAddress":{"k":"2001:db8::/32"}}`, ctx{"k": {"2001:DB8:0::1"}}, true_},
		{`{"IpAddress":{"k":"0.0.0.0/0"}}`, ctx{"k": {"::1"}}, false_},
		{`{"NotIpAddress":{"k":"203.0.113.0/24"}}`, ctx{"k": {"203.0.114.0"}}, true_},
		{`{"NotIpAddress":{"k":"203.0.113.0/24"}}`, nil, true_},
		{`{"NotIpAddress":{"k":"203.0.113.0/24"}}`, ctx{"k": {"AWS Internal"}}, open},
		// ARNs.
		{`{"ArnEquals":{"k":"arn:aws:iam::*:role/x*"}}`, ctx{"k": {"arn:aws:iam::1:role/xy"}}, true_},
		{`{"ArnLike":{"k":"arn:aws:iam::*:role/x"}}`, ctx{"k": {"arn:aws:iam::1:user/a:role/x"}}, false_},
		{`{"ArnNotLike":{"k":"arn:aws:iam::1:role/x"}}`, nil, true_},
		{`{"ArnNotEquals":{"k":"arn:aws:iam::1:role/x"}}`, ctx{"k": {"arn:aws:iam::1:role/x"}}, false_},
		// Variables.
		{`{"StringEquals":{"k":"${v}/x"}}`, ctx{"k": {"a*/x"}, "V": {"a*"}}, true_},
		{`{"StringLike":{"k":"${v}*"}}`, ctx{"k": {"abc"}, "v": {"a*"}}, false_},
		{`{"StringEqualsIgnoreCase":{"k":"${v}B"}}`, ctx{"k": {"ab"}, "v": {"A"}}, true_},
		{`{"StringEquals":{"k":"${aws:PrincipalTag/team, 'all'}"}}`, ctx{"k": {"all"}}, true_},
		{`{"StringEquals":{"k":"${aws:PrincipalTag/team,'all'}"}}`, ctx{"k": {"red"}, "aws:principaltag/team": {"red"}}, true_},
		{`{"StringEquals":{"k":"${v}"}}`, ctx{"k": {"${v}"}}, false_},
		{`{"StringNotEquals":{"k":"${v}"}}`, ctx{"k": {"a"}}, true_},
		{`{"StringNotEquals":{"k":"${v}"}}`, ctx{"k": {"a"}, "v": {"b", "c"}}, open},
		{`{"StringEquals":{"k":["${v}","a"]}}`, ctx{"k": {"a"}, "v": {"b", "c"}}, true_},
		{`{"ArnLike":{"k":"arn:aws:iam::${v}:role/*"}}`, ctx{"k": {"arn:aws:iam::1:role/x"}, "v": {"1"}}, true_},
		{`{"ArnEquals":{"k":"${v}"}}`, ctx{"k": {"arn:aws:iam::1:role/x"}, "v": {"arn:aws:iam::1:role/x"}}, true_},
		{`{"ArnLike":{"k":"${v}:*:role/x"}}`, ctx{"k": {"arn:aws:iam::1:2:role/x"}, "v": {"arn:aws:iam:"}}, false_},
	} {
		one := func(effect string) string {
			return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":%s}}`, effect, c.condition)
		}
		r := iam.Request{Action: get, Resource: object, Context: c.context}
		inAllow, err := iam.Allows([]iam.Policy{mustParse(t, one("Allow"))}, nil, nil, r)
		if want := c.want == true_; err != nil || (inAllow.Verdict == iam.Allowed) != want {
			t.Errorf("allow if %s over %v: %s, %v", c.condition, c.context, inAllow.Verdict, err)
		}
		inDeny, err := iam.Allows([]iam.Policy{mustParse(t, allow("*", "*")), mustParse(t, one("Deny"))}, nil, nil, r)
		if want := c.want != false_; err != nil || (inDeny.Verdict == iam.ExplicitDeny) != want {
			t.Errorf("deny if %s over %v: %s, %v", c.condition, c.context, inDeny.Verdict, err)
		}
	}
}

func TestResourceVariables(t *testing.T) {
	const not = `{"Version":"2012-10-17","Statement":[{"Effect":%q,"Action":"*","NotResource":"arn:aws:s3:::b/${v}"},{"Effect":"Allow","Action":"x:y","Resource":"*"}]}`
	for _, c := range []struct {
		policy string
		v      []string // nil is missing
		want   iam.Verdict
	}{
		{allow("*", "arn:aws:s3:::b/${v}"), []string{"k"}, iam.Allowed},
		{allow("*", "arn:aws:s3:::b/${v}"), []string{"*"}, iam.ImplicitDeny},
		{allow("*", "arn:aws:s3:::b/${v}*"), []string{""}, iam.Allowed},
		{allow("*", "arn:aws:s3:::b/${v}*"), nil, iam.ImplicitDeny},
		{allow("*", "arn:aws:s3:::b/${v, 'k'}"), nil, iam.Allowed},
		{allow("*", "arn:aws:s3:::b/${v, 'k'}"), []string{"k", "l"}, iam.ImplicitDeny},
		{allow("*", "arn:aws:${v}:::b/k"), []string{"s3"}, iam.ImplicitDeny},
		{strings.Replace(allow("*", "arn:aws:s3:::b/${v}"), "2012", "2008", 1), []string{"k"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Allow"), nil, iam.Allowed},
		{fmt.Sprintf(not, "Allow"), []string{"k"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Allow"), []string{"l"}, iam.Allowed},
		{fmt.Sprintf(not, "Allow"), []string{"l", "m"}, iam.ImplicitDeny},
		{fmt.Sprintf(not, "Deny"), []string{"l", "m"}, iam.ExplicitDeny},
	} {
		r := iam.Request{Action: get, Resource: object}
		if c.v != nil {
			r.Context = map[string][]string{"v": c.v}
		}
		d, err := iam.Allows([]iam.Policy{mustParse(t, c.policy)}, nil, nil, r)
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
		d, err := iam.Allows(c.identity, c.session, c.boundary, iam.Request{Action: get, Resource: object})
		if err != nil || !reflect.DeepEqual(d, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, d, err, c.want)
		}
	}
	if d, err := new(iam.Evaluator).Allows(iam.Request{Action: get, Resource: object}); err != nil || d.Layer != "identity" {
		t.Errorf("zero evaluator: %+v, %v", d, err)
	}
}

func TestMalformed(t *testing.T) {
	p := mustParse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"k":"true"}}}}`)
	for name, r := range map[string]iam.Request{
		"no action":     {Resource: object},
		"no service":    {Action: "GetObject", Resource: object},
		"wild action":   {Action: "s3:*", Resource: object},
		"no resource":   {Action: get},
		"two spellings": {Action: get, Resource: object, Context: map[string][]string{"aws:k": nil, "AWS:K": nil}},
	} {
		if d, err := iam.Allows([]iam.Policy{p}, nil, nil, r); !errors.Is(err, iam.ErrRequest) || d.Verdict != iam.ImplicitDeny {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	principal := mustParse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	for name, bad := range map[string]iam.Policy{"empty": {}, "principal": principal, "operator": {Statements: []iam.Statement{{
		Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}, Condition: map[string]map[string][]string{"StringIs": {"k": {"v"}}}}}}} {
		if _, err := iam.Allows([]iam.Policy{p}, &bad, nil, iam.Request{Action: get, Resource: object}); !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecisionAsJSON(t *testing.T) {
	d, err := iam.Allows([]iam.Policy{mustParse(t, allow("*", "*"))}, nil, nil, iam.Request{Action: get, Resource: object})
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
		e, err := iam.Compile([]iam.Policy{p}, nil, nil)
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
		if under, err2 := iam.Allows([]iam.Policy{p}, nil, &deny, r); err == nil && (err2 != nil || under.Verdict != iam.ExplicitDeny) {
			t.Fatalf("under a Deny: %v, %v", under, err2)
		}
	})
}
