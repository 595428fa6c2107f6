package iam_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// full has every element, each form of a value, and nothing in canonical order.
const full = `{
  "Statement": [
    {"Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::a/*"], "Action": ["s3:PutObject", "s3:GetObject", "s3:PutObject"],
     "Effect": "Allow", "Sid": "One",
     "Condition": {
       "numericlessthan": {"s3:max-keys": 10}, "bool": {"aws:SecureTransport": true},
       "forallvalues:STRINGLIKEIFEXISTS": {"aws:TagKeys": ["b*", "a?", "${aws:username}"]},
       "NULL": {"aws:TokenIssueTime": "false"}
     }},
    {"Effect": "Deny", "Principal": "*", "NotAction": "iam:*", "NotResource": "*", "Condition": {}},
    {"Effect": "Allow", "NotPrincipal": {"Service": "ec2.amazonaws.com", "AWS": ["b", "a"]}, "Action": "sts:AssumeRole"}
  ],
  "Id": "x<y>", "Version": "2012-10-17"
}`

const fullCanonical = `{"Version":"2012-10-17","Id":"x<y>","Statement":[` +
	`{"Sid":"One","Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::a/*","arn:aws:s3:::b/*"],` +
	`"Condition":{"Bool":{"aws:SecureTransport":"true"},"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["${aws:username}","a?","b*"]},` +
	`"Null":{"aws:TokenIssueTime":"false"},"NumericLessThan":{"s3:max-keys":"10"}}},` +
	`{"Effect":"Deny","Principal":"*","NotAction":"iam:*","NotResource":"*"},` +
	`{"Effect":"Allow","NotPrincipal":{"AWS":["a","b"],"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

func TestParseFullGrammar(t *testing.T) {
	p, err := iam.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Marshal()
	if err != nil || string(b) != fullCanonical {
		t.Fatalf("%v\ngot  %s\nwant %s", err, b, fullCanonical)
	}
	back, err := iam.Parse(b)
	if err != nil || !reflect.DeepEqual(back, p.Canonical()) {
		t.Fatalf("%v\ngot  %#v\nwant %#v", err, back, p.Canonical())
	}
	if err := p.ValidateSession(); !errors.Is(err, iam.ErrPolicy) || errors.Is(err, iam.ErrEmpty) {
		t.Errorf("a session policy with a principal: %v", err)
	}
}

func TestParseVersions(t *testing.T) {
	const one = `"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/${"}}`
	if _, err := iam.Parse([]byte(`{"Version":"2012-10-17",` + one)); !errors.Is(err, iam.ErrPolicy) {
		t.Errorf("an open variable: %v", err)
	}
	for _, head := range []string{`{`, `{"Version":"2008-10-17",`} {
		p, err := iam.Parse([]byte(head + one))
		if err != nil || p.Version != iam.Version2008 {
			t.Fatalf("%s: version %q, %v", head, p.Version, err)
		}
		if err := p.ValidateSession(); !errors.Is(err, iam.ErrEmpty) {
			t.Errorf("a session policy of one Deny: %v", err)
		}
		if iam.Size(p) != 0 {
			t.Error("it has a size")
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	statement := func(members string) string {
		return "{\"Version\":\"2012-10-17\",\n \"Statement\":[{" + members + "}]}"
	}
	condition := func(c string) string {
		return statement(`"Effect":"Deny","Action":"*","Resource":"*","Condition":` + c)
	}
	for _, c := range []struct{ text, want string }{
		{``, "1:1: the document ends too early"},
		{`[]`, "1:1: the document is not an object"},
		{"{\n\"Version\": \"2012-10-17\",\n  \"Version\": \"2012-10-17\"}", `3:3: "Version" is there twice in the document`},
		{`{"Version":2012}`, "1:12: a number is not a string"},
		{`{"Version":""}`, `1:12: version "" is neither`},
		{`{"version":"2012-10-17"}`, `1:2: unknown element "version"`},
		{`{"Version":"2012-10-17"`, "1:24: the document ends too early"},
		{`{"Version":"2012-10-17",}`, "1:25: invalid character '}'"},
		{`{"Version":"2012-10-17","Statement":[]}`, "1:1: it allows nothing"},
		{`{"Version":"2012-10-17","Statement":["x"]}`, "1:38: the statement is not an object"},
		{`{"Version":"2012-10-17","Statement":null}`, "1:37: Statement is neither"},
		{"{\"Id\":\"\xff\"}", "1:8: the text is not UTF-8"},
		{`{"Id":"\ud800"}`, "1:7: the string has half of a surrogate pair"},
		{statement(`"Effect":"Allow","Action":"*","Resource":"*"`) + "\n {}", "3:2: text after the document"},
		{statement(`"Effect":"Allow","effect":"Allow"`), `2:33: unknown element "effect"`},
		{statement(`"Effect":"allow","Action":"*","Resource":"*"`), `2:15: checking statement 1: effect "allow"`},
		{statement(`"Effect":"Allow","Action":"*"`), "2:15: checking statement 1: needs exactly one of Resource"},
		{statement(`"Effect":"Allow","Action":[],"Resource":"*"`), `2:42: "Action" has no values`},
		{statement(`"Effect":"Allow","Action":[1],"Resource":"*"`), `2:43: a number in "Action" is not a value`},
		{statement(`"Effect":"Allow","Action":{},"Resource":"*"`), `2:42: an object in "Action" is not a value`},
		{statement(`"Principal":"me"`), `2:28: Principal "me" is neither`},
		{statement(`"Principal":{}`), `Principal is empty`},
		{statement(`"Principal":{"*":"*"}`), `2:29: unknown type of principal "*"`},
		{statement(`"Effect":"Deny","Action":"*","Resource":"*","Principal":{"aws":"*"}`), `unknown type of principal "aws"`},
		{statement(`"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"`),
			`2:71: checking statement 2: a statement before it has the Sid "a" too`},
		{condition(`{"StringIs":{"x:k":"v"}}`), `unknown condition operator "StringIs"`},
		{condition(`{"NullIfExists":{"x:k":"true"}}`), "Null takes no IfExists"},
		{condition(`{"StringEquals":{"x:k":"v"},"stringequals":{"l":"v"}}`), `"stringequals" is there twice`},
		{condition(`{"StringEquals":{"aws:x":"v","AWS:X":"v"}}`), `"AWS:X" is there twice`},
		{condition(`{"StringEquals":{"x:k":null}}`), `null in "x:k" is not a value`},
		{condition(`{"StringEquals":{"x:k":[["v"]]}}`), `a list in "x:k" is not a value`},
		{condition(`{"StringEquals":{}}`), `condition operator "StringEquals" has no keys`},
		{condition(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), `"10.0.0.0/33" is not an address or a network`},
		{condition(`{"NumericEquals":{"x:k":1e3}}`), `"1e3" is not an integer`},
		{condition(`{"DateEquals":{"x:k":"yesterday"}}`), `"yesterday" is not a date`},
		{condition(`{"Bool":{"x:k":"${aws:x}"}}`), `is not true or false`},
		{condition(`{"BinaryEquals":{"x:k":"?"}}`), `"?" is not base64`},
		{condition(`{"StringEquals":{"x:k":"${aws:x, 'a}"}}`), `the default of ${aws:x} has no closing quote`},
		{condition(`{"StringEquals":{"x:k":"${aws:x, a}"}}`), `the default of ${aws:x} is not in single quotes`},
		{condition(`{"StringEquals":{"x:k":"${}"}}`), `"" is no name of a policy variable`},
	} {
		_, err := iam.Parse([]byte(c.text))
		var syntax *iam.SyntaxError
		if !errors.As(err, &syntax) || !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || syntax.Line < 1 || syntax.Column < 1 {
			t.Errorf("%s:\ngot  %v\nwant %s", c.text, err, c.want)
		}
		if want := fmt.Sprintf("%d:%d: %s", syntax.Line, syntax.Column, syntax.Msg); want != err.Error() {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
