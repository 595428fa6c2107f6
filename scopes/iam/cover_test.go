package iam_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// doc reads statements without the envelope.
func doc(t testing.TB, statements string) []iam.Policy {
	t.Helper()
	if statements == "" {
		return nil
	}
	p, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`))
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	return []iam.Policy{p}
}

// on writes an Allow of everything on a resource, and with a condition.
// on allows everything on resources; one that is no ARN is the name of a bucket or an object.
func on(resources string) string {
	all := strings.Fields(resources)
	for i, r := range all {
		if r != "*" && !strings.HasPrefix(r, "arn:") {
			all[i] = "arn:aws:s3:::" + r
		}
	}
	return `{"Effect":"Allow","Action":"*","Resource":` + list(strings.Join(all, " ")) + `}`
}

func list(s string) string { return `["` + strings.ReplaceAll(s, " ", `","`) + `"]` }

func act(action string) string {
	return `{"Effect":"Allow","Action":` + list(action) + `,"Resource":"*"}`
}
func when(condition string) string {
	return `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + condition + `}}`
}
func denyWhen(condition string) string {
	return `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + condition + `}}`
}

const all = `{"Effect":"Allow","Action":"*","Resource":"*"}`

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       iam.Answer
	}{
		{"nothing in nothing", "", "", iam.Yes},
		{"nothing in all", all, "", iam.Yes},
		{"all in nothing", "", all, iam.No},
		{"all in all", all, all, iam.Yes},

		{"actions: prefix", act("s3:Get*"), act("s3:GetObject s3:getbucket*"), iam.Yes},
		{"actions: case", act("S3:GETOBJECT"), act("s3:GetObject"), iam.Yes},
		{"actions: a future action", act("s3:GetObject s3:GetObjectAcl"), act("s3:GetObject*"), iam.No},
		{"actions: one character each", act("s3:? s3:??*"), act("s3:*"), iam.Yes},
		{"actions: inner stars", act("s3:*Object"), act("s3:Get*Object s3:PutObject"), iam.Yes},
		{"actions: inner stars, other way", act("s3:Get*Object"), act("s3:*Object"), iam.No},

		{"resources: a*b in *", on("*"), on("a*b"), iam.Yes},
		{"resources: * in a*b", on("a*b"), on("*"), iam.No},
		{"resources: a*b in a* and *b", on("a*"), on("a*b"), iam.Yes},
		{"resources: counting", on("a?? a???"), on("a??*"), iam.No},
		{"resources: counting, all lengths", on("x:::::a x:::::a? x:::::a??*"), on("x:::::a*"), iam.Yes},
		{"resources: counting by two", on("??"), on("?"), iam.No},
		{"resources: characters, not bytes", on("arn:aws:s3:::b/?"), on("arn:aws:s3:::b/é"), iam.Yes},
		{"resources: two bytes are one character", on("arn:aws:s3:::b/??"), on("arn:aws:s3:::b/é"), iam.No},
		{"resources: order of stars", on("*b*a*"), on("*a*b*"), iam.No},
		{"resources: a union that is all", on("*a* ?* :* *b arn:aws:s3:::"), on("arn:aws:s3:::*"), iam.Yes},
		{"resources: segments", on("arn:aws:sqs:*:1:q"), on("arn:aws:sqs:eu-west-1:1:q"), iam.Yes},
		{"resources: a star within its segment", on("arn:aws:sqs:eu*-1:1:q"), on("arn:aws:sqs:eu-1:2:x-1:1:q"), iam.No},
		{"resources: bucket and objects", on("arn:aws:s3:::b arn:aws:s3:::b/*"), on("arn:aws:s3:::b*"), iam.No},

		{"complement of a complement", `{"Effect":"Allow","NotAction":"s3:*","Resource":"*"},` + act("s3:*"), all, iam.Yes},
		{"NotAction against a Deny", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`,
			all + `,{"Effect":"Deny","Action":"iam:*","Resource":"*"}`, iam.Yes},
		{"a Deny against NotAction", all + `,{"Effect":"Deny","Action":"iam:*","Resource":"*"}`,
			`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, iam.Yes},
		{"NotAction, one more", `{"Effect":"Allow","NotAction":["iam:*","sts:*"],"Resource":"*"}`,
			all + `,{"Effect":"Deny","Action":"iam:*","Resource":"*"}`, iam.No},
		{"NotResource against a Deny", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::b/*"}`,
			all + `,{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/*"}`, iam.Yes},
		{"Deny NotResource", on("arn:aws:s3:::b/*"), all + `,{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/*"}`, iam.Yes},
		{"overlapping Denies", all + `,{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::b/*"}`,
			all + `,{"Effect":"Deny","NotAction":"ec2:*","Resource":"*"}`, iam.Yes},
		{"a's Deny", all + `,{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}`, act("s3:*"), iam.No},

		{"no condition in a condition", when(`"StringEquals":{"x:k":"v"}`), all, iam.No},
		{"a condition in none", all, when(`"StringEquals":{"x:k":"v"}`), iam.Yes},
		{"key's case", when(`"StringEquals":{"AWS:username":"v"}`), when(`"StringEquals":{"aws:UserName":"v"}`), iam.Yes},
		{"values", when(`"StringEquals":{"x:k":["v","w"]}`), when(`"StringEquals":{"x:k":"v"}`), iam.Yes},
		{"values, other way", when(`"StringEquals":{"x:k":"v"}`), when(`"StringEquals":{"x:k":["v","w"]}`), iam.No},
		{"like", when(`"StringLike":{"x:k":"team/*"}`), when(`"StringEquals":{"x:k":"team/a"}`), iam.Yes},
		{"like and like", when(`"StringLike":{"x:k":["a*","b*"]}`), when(`"StringLike":{"x:k":["a*z","b?"]}`), iam.Yes},
		{"ignoring case", when(`"StringEqualsIgnoreCase":{"x:k":"Abc"}`), when(`"StringEquals":{"x:k":"aBC"}`), iam.Yes},
		{"ignoring case, other way", when(`"StringEquals":{"x:k":"abc"}`), when(`"StringEqualsIgnoreCase":{"x:k":"abc"}`), iam.No},
		{"arn like", when(`"ArnLike":{"x:k":"arn:aws:sns:*:*:t*"}`), when(`"ArnEquals":{"x:k":"arn:aws:sns:eu-west-1:1:topic"}`), iam.Yes},
		{"arn like is no string like", when(`"ArnLike":{"aws:SourceArn":"arn:aws:s3:*:*:b"}`), when(`"StringLike":{"aws:SourceArn":"arn:aws:s3:*:*:b"}`), iam.No},
		{"two halves of a network", when(`"IpAddress":{"aws:SourceIp":["10.0.0.0/9"]}`) + "," + when(`"IpAddress":{"aws:SourceIp":["10.128.0.0/9"]}`),
			when(`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), iam.Yes},
		{"a network and its half", when(`"IpAddress":{"aws:SourceIp":["10.0.0.0/9"]}`), when(`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), iam.No},
		{"two halves of IPv6", when(`"IpAddress":{"aws:SourceIp":["2001:db8::/33","2001:db8:8000::/33"]}`), when(`"IpAddress":{"aws:SourceIp":"2001:db8::/32"}`), iam.Yes},
		{"the last address", when(`"IpAddress":{"aws:SourceIp":["255.255.255.254/32"]}`), when(`"IpAddress":{"aws:SourceIp":"255.255.255.254/31"}`), iam.No},
		{"not in a network", all + "," + denyWhen(`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), when(`"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), iam.Yes},
		{"numbers split", when(`"NumericLessThan":{"x:k":"10"}`) + "," + when(`"NumericGreaterThanEquals":{"x:k":"10"}`), when(`"NumericGreaterThan":{"x:k":"-1"}`), iam.Yes},
		{"numbers with a hole", when(`"NumericLessThan":{"x:k":"10"}`) + "," + when(`"NumericGreaterThan":{"x:k":"10"}`), when(`"NumericGreaterThan":{"x:k":"-1"}`), iam.No},
		{"numbers between", when(`"NumericLessThan":{"x:k":"1"}`), when(`"NumericLessThan":{"x:k":"1.5"}`), iam.No},
		{"dates split", when(`"DateLessThan":{"aws:CurrentTime":"2026-06-01T00:00:00Z"}`) + "," + when(`"DateGreaterThanEquals":{"aws:CurrentTime":"2026-06-01T00:00:00Z"}`),
			when(`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}`), iam.Yes},
		{"dates with a hole", when(`"DateLessThanEquals":{"x:d":"2026-06-01T00:00:00Z"}`) + "," + when(`"DateGreaterThanEquals":{"x:d":"2026-06-01T00:00:00.000000002Z"}`),
			when(`"DateGreaterThan":{"x:d":"2026-01-01T00:00:00Z"}`), iam.No},
		{"dates a nanosecond apart", when(`"DateLessThanEquals":{"aws:CurrentTime":"2026-06-01T00:00:00Z"}`) + "," + when(`"DateGreaterThanEquals":{"aws:CurrentTime":"2026-06-01T00:00:00.000000001Z"}`),
			when(`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`), iam.Yes},
		{"dates before Christ", when(`"DateLessThan":{"aws:CurrentTime":"-99999999999"}`), when(`"DateLessThan":{"aws:CurrentTime":"-99999999998.5"}`), iam.No},
		{"deadlines", all + "," + denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-02-01T00:00:00Z"}`),
			all + "," + denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`), iam.Yes},
		{"deadlines, other way", all + "," + denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`),
			all + "," + denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-02-01T00:00:00Z"}`), iam.No},
		{"a Deny for an Allow", all + "," + denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-02-01T00:00:00Z"}`),
			when(`"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`), iam.Yes},
		{"region by Deny", all + "," + denyWhen(`"StringNotEquals":{"aws:RequestedRegion":["eu-west-1","eu-central-1"]}`),
			when(`"StringEquals":{"aws:RequestedRegion":"eu-west-1"}`), iam.Yes},
		{"bool", when(`"Bool":{"x:k":"true"}`) + "," + when(`"Bool":{"x:k":"false"}`), when(`"Bool":{"x:k":["true","false"]}`), iam.Yes},
		{"bool and the missing key", all + "," + denyWhen(`"Bool":{"aws:SecureTransport":"false"}`), when(`"Bool":{"aws:SecureTransport":"true"}`), iam.Yes},
		{"bool, other way", when(`"Bool":{"aws:SecureTransport":"true"}`), all + "," + denyWhen(`"Bool":{"aws:SecureTransport":"false"}`), iam.No},
		{"null", when(`"Null":{"x:k":"true"}`) + "," + when(`"Null":{"x:k":"false"}`), all, iam.Yes},
		{"null and a value", when(`"Null":{"x:k":"false"}`), when(`"StringLike":{"x:k":"?*"}`), iam.Yes},
		{"null and an empty value", when(`"Null":{"x:k":"false"}`), when(`"StringLike":{"x:k":"*"}`), iam.Unknown},
		{"a value and null", when(`"StringLike":{"x:k":"*"}`), when(`"Null":{"x:k":"false"}`), iam.Yes},
		{"IfExists is wider", when(`"StringEqualsIfExists":{"x:k":"v"}`), when(`"StringEquals":{"x:k":"v"}`), iam.Yes},
		{"plain is narrower", when(`"StringEquals":{"x:k":"v"}`), when(`"StringEqualsIfExists":{"x:k":"v"}`), iam.No},
		{"IfExists with Null", when(`"StringEquals":{"x:k":"v"}`), when(`"StringEqualsIfExists":{"x:k":"v"},"Null":{"x:k":"false"}`), iam.Yes},
		{"ForAllValues on a missing key", when(`"ForAnyValue:StringEquals":{"x:k":"v"}`), when(`"ForAllValues:StringEquals":{"x:k":"v"}`), iam.No},
		{"ForAllValues with Null", when(`"ForAnyValue:StringEquals":{"x:k":"v"}`), when(`"ForAllValues:StringEquals":{"x:k":"v"},"Null":{"x:k":"false"}`), iam.Yes},
		{"ForAllValues of fewer", when(`"ForAllValues:StringEquals":{"x:k":["v","w"]}`), when(`"ForAllValues:StringEquals":{"x:k":"v"}`), iam.Yes},
		{"any is not all", when(`"ForAllValues:StringLike":{"aws:TagKeys":"a*"}`), when(`"ForAnyValue:StringLike":{"aws:TagKeys":"a*"}`), iam.No},
		{"any two of a list", when(`"ForAnyValue:StringLike":{"aws:TagKeys":"a*b"}`), when(`"ForAnyValue:StringLike":{"aws:TagKeys":"a*"},"ForAllValues:StringLike":{"aws:TagKeys":"*b"}`), iam.Yes},
		{"lists split", when(`"ForAllValues:StringLike":{"aws:TagKeys":"a*"}`) + "," + when(`"ForAnyValue:StringNotLike":{"aws:TagKeys":"a*"}`), all, iam.Unknown},
		{"binary", when(`"BinaryEquals":{"x:k":["QUJD","QUJE"]}`), when(`"BinaryEquals":{"x:k":"QUJD"}`), iam.Yes},
		{"a text and a number", when(`"NumericEquals":{"x:k":"5.0"}`), when(`"StringEquals":{"x:k":"5"}`), iam.Yes},
		{"a text and another number", when(`"NumericEquals":{"x:k":"6"}`), when(`"StringEquals":{"x:k":"5"}`), iam.No},
		{"a number and a text", when(`"StringEquals":{"x:k":"5"}`), when(`"NumericEquals":{"x:k":"5"}`), iam.Unknown},
		{"a wildcard and a number", when(`"NumericLessThan":{"x:k":"60"}`), when(`"StringLike":{"x:k":"5?"}`), iam.Unknown},
		{"a wildcard and numbers", when(`"NumericGreaterThan":{"aws:MultiFactorAuthAge":"0"}`),
			when(`"StringLike":{"aws:MultiFactorAuthAge":"5?"},"NumericGreaterThan":{"aws:MultiFactorAuthAge":"-1"}`), iam.Unknown},
		{"a text and a network", when(`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`), when(`"StringEquals":{"aws:SourceIp":"192.0.2.1"}`), iam.No},

		{"a variable", on("arn:aws:s3:::b/*"), on("arn:aws:s3:::b/${aws:username}/*"), iam.Yes},
		{"the same variable", on("arn:aws:s3:::b/${aws:username}/*"), on("arn:aws:s3:::b/${aws:username}/*"), iam.Yes},
		{"the same variable in a condition", when(`"StringEquals":{"x:k":"${aws:username}"}`), when(`"StringEquals":{"x:k":"${aws:username}"}`), iam.Yes},
		{"a variable and one user", on("arn:aws:s3:::b/bob/*"), on("arn:aws:s3:::b/${aws:username}/*"), iam.No},
		{"a variable and another", on("arn:aws:s3:::b/${aws:userid}/*"), on("arn:aws:s3:::b/${aws:username}/*"), iam.No},
		{"a variable for all", on("arn:aws:s3:::b/${aws:username}/*"), on("arn:aws:s3:::b/*"), iam.No},
		{"a variable in a Deny", all + `,{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/${aws:username}/*"}`, all, iam.No},
		{"a variable with a known value", on("arn:aws:s3:::b/bob/*"),
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringEquals":{"aws:username":"bob"}}}`, iam.Yes},
		{"a variable with a known value, other way", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:UserName}/*","Condition":{"StringEquals":{"aws:username":"bob"}}}`,
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/bob/*","Condition":{"StringEquals":{"aws:username":"bob"}}}`, iam.Yes},
		{"a variable with a value it has not", on("arn:aws:s3:::b/bob/*"),
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringNotEquals":{"aws:username":"bob"}}}`, iam.No},
		{"a variable of many values", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:TagKeys}/*","Condition":{"StringEquals":{"aws:TagKeys":"bob"}}}`,
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/bob/*","Condition":{"StringEquals":{"aws:TagKeys":"bob"}}}`, iam.Unknown},
		{"a variable that is there or not", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringEqualsIfExists":{"aws:username":"bob"}}}`,
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/bob/*","Condition":{"StringEqualsIfExists":{"aws:username":"bob"}}}`, iam.No},
		{"a variable in a pinned ARN", when(`"ArnLike":{"aws:SourceArn":"arn:aws:iam::1:user/bob"},"StringEquals":{"aws:username":"bob"}`),
			when(`"ArnLike":{"aws:SourceArn":"arn:aws:iam::1:user/${aws:username}"},"StringEquals":{"aws:username":"bob"}`), iam.Yes},
		{"a variable and its condition", on("arn:aws:s3:::b/al/*"),
			`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringLike":{"aws:username":"b*"}}}`, iam.No},
		{"a variable with several values", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::b/${x:k}"}`,
			on("arn:aws:s3:::b/*") + `,{"Effect":"Deny","Action":"*","Resource":"arn:aws:s3:::b/${x:k}"}`, iam.Unknown},
		{"a variable's default", on("arn:aws:s3:::b/x/*"), `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team, 'none'}/*"}`, iam.No},
		{"an escape", on("arn:aws:s3:::b/*"), on("arn:aws:s3:::b/${*}"), iam.Yes},
		{"an escape, other way", on("arn:aws:s3:::b/${*}"), on("arn:aws:s3:::b/*"), iam.No},
	} {
		got, err := iam.Covers(iam.DialectAWS, doc(t, c.a), doc(t, c.b))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.Answer != c.want {
			t.Errorf("%s: %v, want %v; witness %+v, why %q", c.name, got.Answer, c.want, got.Witness, got.Why)
			continue
		}
		checkCoverage(t, c.name, doc(t, c.a), doc(t, c.b), got)
	}
}

// "${" is text in the older version: the same text is then another pattern.
func TestCoversTellsVersionsApart(t *testing.T) {
	for _, s := range []string{on("arn:aws:s3:::b/${$}*a"), when(`"StringLike":{"x:k":"${$}*a"}`), on("arn:aws:s3:::${aws:username}"), when(`"StringEquals":{"x:k":"${*}"}`)} {
		older, newer := doc(t, s), doc(t, s)
		older[0].Version = iam.Version2008
		got, err := iam.Covers(iam.DialectAWS, older, newer)
		if err != nil || got.Answer != iam.No {
			t.Errorf("%s: %+v, %v", s, got, err)
			continue
		}
		checkCoverage(t, s, older, newer, got)
	}
}

// IPv4 in IPv6 notation is IPv4, so a gap in an IPv6 cover may lie behind addresses that no request has.
func TestCoversBehindIPv4(t *testing.T) {
	networks := []string{"::ffff:0:0/97"}
	for bits, start := 81, 0; bits <= 96; bits++ { // all before ::ffff:0:0
		networks = append(networks, fmt.Sprintf("::%x:0:0/%d", start, bits))
		start += 0x10000 >> (bits - 80)
	}
	a, b := doc(t, when(`"IpAddress":{"x:k":`+list(strings.Join(networks, " "))+`}`)), doc(t, when(`"IpAddress":{"x:k":"::/0"}`))
	got, err := iam.Covers(iam.DialectAWS, a, b)
	if err != nil || got.Answer != iam.No {
		t.Fatalf("%+v, %v", got, err)
	}
	checkCoverage(t, "", a, b, got)
}

// What grows without end is given up, and soon.
func TestCoversGivesUp(t *testing.T) {
	p := doc(t, knotted())
	standing := func() time.Time { return time.Unix(1_800_000_000, 0) } // so that the steps end it, on any machine
	got, err := iam.CoversBy(iam.DialectAWS, p, p, standing)
	if err != nil || got.Answer != iam.Unknown || got.Why != "the search met its limit of 20000000 steps or 10s" {
		t.Errorf("%+v, %v", got, err)
	}
}

// checkCoverage asks Allows about a witness, and fails an answer without its evidence.
func checkCoverage(t testing.TB, name string, a, b []iam.Policy, got iam.Coverage) {
	t.Helper()
	if (got.Witness != nil) != (got.Answer == iam.No) || (got.Why != "") != (got.Answer == iam.Unknown) {
		t.Errorf("%s: %+v", name, got)
	}
	if got.Witness == nil {
		return
	}
	in, err := iam.Allows(iam.DialectAWS, b, nil, nil, *got.Witness)
	if err != nil || in.Verdict != iam.Allowed {
		t.Errorf("%s: b does not allow the witness %+v: %v, %v", name, *got.Witness, in, err)
	}
	out, err := iam.Allows(iam.DialectAWS, a, nil, nil, *got.Witness)
	if err != nil || out.Verdict == iam.Allowed {
		t.Errorf("%s: a allows the witness %+v: %v, %v", name, *got.Witness, out, err)
	}
}
