package oracle

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// generator makes policies and requests from small alphabets, so that they often meet.
type generator struct{ *rand.Rand }

func one[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func several(g generator, most int, make func() string) any {
	if g.chance(60) {
		return make()
	}
	out := []string{}
	for range 1 + g.IntN(most) {
		out = append(out, make())
	}
	return out
}

var (
	keys    = []string{"k", "a/k", "a/b:k", "ann/k", "bob/", "axk"}
	regions = []string{"us-east-1", "us-west-2", ""}
)

func (g generator) request() iam.Request {
	r := iam.Request{Action: one(g, "s3:GetObject", "s3:PutObject", "s3:ListBucket", "S3:getobject", "sqs:SendMessage", "iam:PassRole")}
	r.Resource = one(g, "*", "arn:aws:s3:::b", "arn:aws:s3:::b/"+one(g, keys...), "arn:aws:s3:::c/"+one(g, keys...),
		"arn:aws:sqs:"+one(g, regions...)+":111122223333:q:x", "arn:aws:iam::111122223333:role/a/r")
	r.Context = map[string][]string{}
	for _, k := range contextKeys {
		if g.chance(60) {
			name := k.name
			if g.chance(20) {
				name = strings.ToUpper(name)
			}
			vs := []string{k.value(g)}
			for k.several && g.chance(50) {
				vs = append(vs, k.value(g))
			}
			r.Context[name] = vs
		}
	}
	return r
}

// contextKey is a key with the operators that fit it; value is a value in a request, operand one in a policy.
type contextKey struct {
	name      string
	several   bool
	operators []string
	value     func(generator) string
	operand   func(generator) any
}

var (
	stringOperators = []string{"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"}
	contextKeys     = []contextKey{
		{"aws:username", false, stringOperators, func(g generator) string { return one(g, "ann", "bob", "Ann") },
			func(g generator) any { return one(g, "ann", "a*", "?ob", "*", "${aws:userid}", "ANN") }},
		{"aws:userid", false, stringOperators, func(g generator) string { return one(g, "ann", "AROA:s") },
			func(g generator) any { return one(g, "ann", "AROA:*", "*${aws:username}", "x") }},
		{"s3:prefix", false, stringOperators, func(g generator) string { return one(g, "ann/", "bob/k", "") },
			func(g generator) any {
				return one(g, "", "${aws:username}/*", "bob/?", "ann/", "${aws:Missing}", "*/*")
			}},
		{"aws:RequestTag/team", false, stringOperators, func(g generator) string { return one(g, "red", "blue") },
			func(g generator) any { return one(g, "red", "b*", "green") }},
		{"aws:TagKeys", true, stringOperators, func(g generator) string { return one(g, "team", "cost", "Team", "owner") },
			func(g generator) any { return one(g, "team", "cost", "o*", "????", "${aws:username}") }},
		{"s3:max-keys", false, []string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
			func(g generator) string { return one(g, strconv.Itoa(g.IntN(5)), "2.0", "-1", "1.5") },
			func(g generator) any { return one[any](g, g.IntN(5), "2", "1.50", -1, 2.25) }},
		{"aws:CurrentTime", false, []string{"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
			func(g generator) string {
				return one(g, "2026-11-23T12:00:00Z", "2026-11-23T13:00:00+01:00", "1795435201", "2026-11-24T00:00:00.5Z")
			},
			func(g generator) any {
				return one[any](g, "2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z", 1795435200, "2026-12-01T00:00:00-08:00")
			}},
		{"aws:SecureTransport", false, []string{"Bool"}, func(g generator) string { return one(g, "true", "false") },
			func(g generator) any { return one[any](g, true, "false", "true") }},
		{"aws:SourceIp", false, []string{"IpAddress", "NotIpAddress"},
			func(g generator) string {
				return one(g, "203.0.113.9", "203.0.114.9", "2001:db8::1", "::ffff:203.0.113.9")
			},
			func(g generator) any {
				return one(g, "203.0.113.0/24", "203.0.113.9", "203.0.113.77/23", "2001:db8::/32", "2001:DB8::1", "0.0.0.0/0", "::/0")
			}},
		{"aws:PrincipalArn", false, []string{"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"},
			func(g generator) string {
				return "arn:aws:iam::" + one(g, "1", "2") + ":" + one(g, "role/r", "user/u:x", "user/ann")
			},
			func(g generator) any {
				return "arn:aws:iam::" + one(g, "1", "*", "?") + ":" + one(g, "role/r", "*", "user/u*", "role/?", "user/${aws:username}")
			}},
		{"x:blob", false, []string{"BinaryEquals"}, func(g generator) string { return one(g, "QQ==", "Qg==") }, func(g generator) any { return one(g, "QQ==", "Qg==") }},
	}
)

func (g generator) condition() map[string]map[string]any {
	out := map[string]map[string]any{}
	for range 1 + g.IntN(2) {
		k := contextKeys[g.IntN(len(contextKeys))]
		op := one(g, k.operators...)
		switch {
		case g.chance(12):
			out["Null"] = map[string]any{k.name: one[any](g, true, "false", "true", false)}
			continue
		case k.several && g.chance(70), g.chance(5):
			op = one(g, "ForAllValues:", "ForAnyValue:") + op
		}
		// ForAnyValue over a missing key, negated or with IfExists, is among the known differences.
		if g.chance(25) && !strings.HasPrefix(op, "ForAnyValue:") {
			op += "IfExists"
		}
		if strings.HasPrefix(op, "ForAnyValue:") && strings.Contains(op, "Not") {
			op = strings.Replace(op, "ForAnyValue:", "", 1)
		}
		name := k.name
		if g.chance(20) {
			name = strings.ToLower(name)
		}
		if out[op] == nil {
			out[op] = map[string]any{}
		}
		values := []any{}
		for range 1 + g.IntN(3) {
			values = append(values, k.operand(g))
		}
		for other := range out[op] {
			if strings.EqualFold(other, name) {
				delete(out[op], other)
			}
		}
		out[op][name] = values
		if len(values) == 1 && g.chance(50) {
			out[op][name] = values[0]
		}
	}
	return out
}

func (g generator) action() string {
	return one(g, "*", "s3:*", "s3:Get*", "s3:GetObject", "S3:PUTOBJECT", "s3:*Object", "s3:???Object", "sqs:SendMessage", "iam:Pass*")
}

func (g generator) resource() string {
	return one(g, "*", "arn:aws:s3:::*", "arn:aws:s3:::b", "arn:aws:s3:::b/*", "arn:aws:s3:::b/"+one(g, keys...), "arn:aws:s3:::?/"+one(g, "a*", "*k", "??", "*/*:k"),
		"arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::*/${aws:missing}", "arn:aws:sqs:*:*:*", "arn:aws:sqs:us-*-?:111122223333:q:?",
		"arn:aws:sqs:"+one(g, regions...)+":111122223333:*", "arn:aws:iam::*:role/*/r")
}

func (g generator) policy(t testing.TB) string {
	statements := []map[string]any{}
	for range 1 + g.IntN(4) {
		s := map[string]any{"Effect": one(g, "Allow", "Allow", "Allow", "Deny")}
		s[one(g, "Action", "Action", "Action", "NotAction")] = several(g, 3, g.action)
		s[one(g, "Resource", "Resource", "Resource", "NotResource")] = several(g, 3, g.resource)
		if g.chance(50) {
			s["Condition"] = g.condition()
		}
		statements = append(statements, s)
	}
	doc := map[string]any{"Version": "2012-10-17", "Statement": statements}
	switch {
	case g.chance(10):
		doc["Version"] = "2008-10-17"
	case g.chance(10):
		delete(doc, "Version")
	}
	if len(statements) == 1 && g.chance(30) {
		doc["Statement"] = statements[0]
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
