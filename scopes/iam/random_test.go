package iam_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valetkey/valetkey/scopes/iam"
)

// generator makes policies of the kinds that people write, with few values, so that they meet, and requests that meet
// them.
type generator struct {
	r         *rand.Rand
	variables bool // whether policies have variables
}

func one[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (g *generator) action() string {
	return one(g.r, "s3:GetObject", "s3:GetObject", "s3:PutObject", "S3:Get*", "s3:*", "*", "s3:*Object", "iam:*", "iam:PassRole",
		"s3:Ge?Object", "sqs:SendMessage", "sqs:*", "s3:Get?bject")
}

func (g *generator) resource() string {
	r := one(g.r, "*", "arn:aws:s3:::b/*", "arn:aws:s3:::b", "arn:aws:s3:::b*", "arn:aws:s3:::b/a*", "arn:aws:s3:::b/?", "arn:aws:s3:::*/a",
		"arn:aws:s3:::b/a*b", "arn:aws:sqs:*:1:q", "arn:aws:sqs:eu-west-1:1:q*", "arn:aws:sqs:eu-*-1:*:q", "arn:aws:sqs:*:*:*", "arn:aws:s3:::b/*a*")
	if g.variables && g.r.IntN(4) == 0 {
		r = one(g.r, "arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/${aws:PrincipalTag/team, 'a'}", "arn:aws:s3:::b/${*}", "arn:aws:s3:::${aws:username}/a")
	}
	return r
}

func (g *generator) some(of func() string) []string {
	out := []string{of()}
	for g.r.IntN(3) == 0 {
		out = append(out, of())
	}
	return out
}

// The keys that conditions and contexts use, with what each is compared as.
func (g *generator) condition(to map[string]map[string][]string) {
	op, key := "", ""
	var value func() string
	switch g.r.IntN(8) {
	case 0, 1, 2:
		op, key = one(g.r, "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"), one(g.r, "x:k", "aws:PrincipalTag/team", "x:K")
		value = func() string {
			if g.variables && g.r.IntN(4) == 0 {
				return one(g.r, "${aws:username}", "a${x:k}", "${*}")
			}
			return one(g.r, "a", "b", "A", "ab", "a*", "*b", "?")
		}
	case 3:
		op, key = one(g.r, "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"), "s3:max-keys"
		value = func() string { return one(g.r, "1", "2", "2.0", "10", "-3.25") }
	case 4:
		op, key = one(g.r, "DateLessThan", "DateGreaterThan", "DateEquals", "DateNotEquals", "DateLessThanEquals", "DateGreaterThanEquals"), "aws:CurrentTime"
		value = func() string {
			return one(g.r, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-06-01", "1790000000")
		}
	case 5:
		op, key = one(g.r, "IpAddress", "NotIpAddress"), "aws:SourceIp"
		value = func() string {
			return one(g.r, "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.2.3", "2001:db8::/32", "2001:db8::/33", "0.0.0.0/0", "::/0")
		}
	case 6:
		op, key = one(g.r, "Bool", "Null"), one(g.r, "aws:SecureTransport", "x:k")
		value = func() string { return one(g.r, "true", "false") }
	default:
		op, key = one(g.r, "ArnLike", "ArnNotLike", "ArnEquals"), "aws:SourceArn"
		value = func() string {
			return one(g.r, "arn:aws:sns:*:*:t*", "arn:aws:sns:eu-west-1:1:t", "arn:aws:*:::x", "a")
		}
	}
	if op != "Null" {
		if g.r.IntN(4) == 0 {
			op = one(g.r, "ForAllValues:", "ForAnyValue:") + op
		}
		if g.r.IntN(4) == 0 {
			op += "IfExists"
		}
	}
	if to[op] == nil {
		to[op] = map[string][]string{}
	}
	for k := range to[op] {
		if strings.EqualFold(k, key) {
			return
		}
	}
	to[op][key] = g.some(value)
}

func (g *generator) statement() iam.Statement {
	s := iam.Statement{Effect: one(g.r, iam.Allow, iam.Allow, iam.Deny)}
	if g.r.IntN(6) == 0 {
		s.NotAction = g.some(g.action)
	} else {
		s.Action = g.some(g.action)
	}
	if g.r.IntN(6) == 0 {
		s.NotResource = g.some(g.resource)
	} else {
		s.Resource = g.some(g.resource)
	}
	if g.r.IntN(2) == 0 {
		s.Condition = map[string]map[string][]string{}
		for range 1 + g.r.IntN(2) {
			g.condition(s.Condition)
		}
	}
	return s
}

func (g *generator) policy(n int) iam.Policy {
	p := iam.Policy{}
	for range n {
		p.Statements = append(p.Statements, g.statement())
	}
	p.Statements[0].Effect = iam.Allow
	return p
}

// request makes a request that has a good chance to meet the policies above.
func (g *generator) request() iam.Request {
	fill := func(s string) string {
		var b strings.Builder
		for _, c := range s {
			switch c {
			case '*':
				b.WriteString(one(g.r, "", "a", "b", "ab", "x", "a/b", ":", "aab", "é"))
			case '?':
				b.WriteString(one(g.r, "a", "b", "é", ":"))
			default:
				b.WriteRune(c)
			}
		}
		return b.String()
	}
	q := iam.Request{Action: one(g.r, "s3:GetObject", "s3:PutObject", "s3:getbucket", "iam:PassRole", "iam:x", "sqs:SendMessage", "t3:GetObject", "x:Get", "x:y", "s3:GetXbject"),
		Resource: fill(g.resource()), Context: map[string][]string{}}
	if strings.Count(q.Resource, ":") < 5 || g.r.IntN(20) == 0 {
		q.Resource = one(g.r, "*", "arn:aws:s3:::b/bob/a", "arn:aws:sqs:eu-west-1:1:q")
	}
	add := func(key string, single bool, values ...string) {
		switch g.r.IntN(4) {
		case 0:
		case 1, 2:
			q.Context[key] = []string{one(g.r, values...)}
		default:
			q.Context[key] = []string{}
			for range g.r.IntN(4) {
				if !single || len(q.Context[key]) == 0 {
					q.Context[key] = append(q.Context[key], one(g.r, values...))
				}
			}
		}
	}
	add("x:k", true, "a", "b", "A", "ab", "aab", "x", "", "true", "FALSE", "?", "*", "abob")
	add("aws:principaltag/team", true, "a", "b", "B", "ab", "aab", "x", "", "*")
	add("aws:username", true, "bob", "a", "b", "*")
	add("s3:max-keys", true, "1", "1.5", "2", "3", "10", "11", "-3.25", "-4", "0", "x", "2.00")
	add("aws:CurrentTime", true, "2025-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-06-01", "2026-06-01T00:00:00.5Z", "1790000000", "1790000001", "x")
	add("aws:SourceIp", true, "10.1.2.3", "10.1.2.4", "10.200.0.1", "11.0.0.1", "2001:db8::1", "2001:db8:8000::1", "::1", "x", "::ffff:10.1.2.3")
	add("aws:SecureTransport", true, "true", "false", "True", "x")
	add("aws:SourceArn", true, "arn:aws:sns:eu-west-1:1:t", "arn:aws:sns:eu-west-1:1:t:x", "arn:aws:s3:::x", "a", "arn:aws:sns:::t")
	return q
}

// Every Yes survives a thousand requests, every No has a witness, and Unknown comes from variables alone.
func TestCoversRandomPairs(t *testing.T) {
	n := 1500
	if testing.Short() || raceEnabled {
		n = 200
	}
	var counts [3]int
	for i := range n {
		g := &generator{r: rand.New(rand.NewPCG(3, uint64(i))), variables: i%3 == 0}
		a, b := g.policy(1+g.r.IntN(4)), g.policy(1+g.r.IntN(2))
		if g.r.IntN(2) == 0 { // narrower than a by a part, or so
			b = a.Clone()
			s := &b.Statements[g.r.IntN(len(b.Statements))]
			*s = g.statement()
		}
		as, bs := []iam.Policy{a}, []iam.Policy{b}
		got, err := iam.Covers(iam.DialectAWS, as, bs)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, show(as), show(bs))
		}
		counts[got.Answer]++
		checkCoverage(t, show(as)+"\n"+show(bs), as, bs, got)
		if got.Answer == iam.Unknown && !g.variables && !strings.Contains(got.Why, "compared both") && !strings.Contains(got.Why, leftOpen) {
			t.Fatalf("%s\n%s\n%s", got.Why, show(as), show(bs))
		}
		if got.Answer != iam.Yes {
			continue
		}
		ea, eb := compiled(t, as...), compiled(t, bs...)
		for range 1000 {
			q := g.request()
			in, err := eb.Allows(q)
			if err != nil {
				t.Fatal(err)
			}
			out, err := ea.Allows(q)
			if err != nil {
				t.Fatal(err)
			}
			if in.Verdict == iam.Allowed && out.Verdict != iam.Allowed {
				t.Fatalf("%+v\n%s\n%s", q, show(as), show(bs))
			}
		}
	}
	t.Logf("%d no, %d yes, %d unknown", counts[iam.No], counts[iam.Yes], counts[iam.Unknown])
	if counts[iam.Yes] < n/10 || counts[iam.No] < n/10 || counts[iam.Unknown] > n/20 {
		t.Errorf("the pairs are one-sided: %v", counts)
	}
}

// Covers of a policy that allows one request alone is Allows of that request.
func TestCoversOneRequest(t *testing.T) {
	n := 3000
	if testing.Short() || raceEnabled {
		n = 300
	}
	var counts [3]int
	for i := range n {
		g := &generator{r: rand.New(rand.NewPCG(17, uint64(i))), variables: i%3 == 0}
		p, q := []iam.Policy{g.policy(1 + g.r.IntN(4))}, g.request()
		if !utf8.ValidString(q.Resource) || q.Resource == "*" { // no policy names "*" alone
			continue
		}
		if point(&q).Validate() != nil {
			continue // a Region that no policy can name
		}
		got, err := iam.Covers(iam.DialectAWS, p, []iam.Policy{point(&q)})
		if err != nil {
			t.Fatal(err)
		}
		want, err := iam.Allows(iam.DialectAWS, p, nil, nil, q)
		if err != nil {
			t.Fatal(err)
		}
		counts[got.Answer]++
		if got.Answer != iam.Unknown && (got.Answer == iam.Yes) != (want.Verdict == iam.Allowed) || (got.Answer == iam.Unknown && !g.variables && !strings.Contains(got.Why, leftOpen)) {
			t.Fatalf("%+v, but %v\n%+v\n%s", got, want.Verdict, q, show(p))
		}
	}
	t.Logf("%d no, %d yes, %d unknown", counts[iam.No], counts[iam.Yes], counts[iam.Unknown])
	if counts[iam.Yes] < n/10 || counts[iam.No] < n/10 || counts[iam.Unknown] > n/20 {
		t.Errorf("the requests are one-sided: %v", counts)
	}
}

// point returns the policy that allows q alone. It leaves one value, or none, of each key in q; a key of policies that q
// does not have is missing.
func point(q *iam.Request) iam.Policy {
	escape := strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")
	is, each, missing, notEmpty := map[string][]string{}, map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, key := range []string{"x:k", "aws:principaltag/team", "aws:username", "s3:max-keys", "aws:CurrentTime", "aws:SourceIp", "aws:SecureTransport", "aws:SourceArn"} {
		if vs := q.Context[key]; len(vs) > 0 {
			q.Context[key] = vs[:1]
			is[key], each[key] = []string{escape.Replace(vs[0])}, []string{escape.Replace(vs[0])}
			continue
		}
		delete(q.Context, key)
		// Null takes an empty key for a missing one, IfExists does not.
		missing[key], notEmpty[key] = []string{"true"}, []string{"x"}
	}
	s := iam.Statement{Effect: iam.Allow, Action: []string{q.Action}, Resource: []string{escape.Replace(q.Resource)}, Condition: map[string]map[string][]string{}}
	for op, keys := range map[string]map[string][]string{"StringEquals": is, "ForAllValues:StringEquals": each, "Null": missing, "StringEqualsIfExists": notEmpty} {
		if len(keys) > 0 {
			s.Condition[op] = keys
		}
	}
	return iam.Policy{Statements: []iam.Statement{s}}
}

// What only takes away is covered, variables or not.
func TestNarrowingNeverWidens(t *testing.T) {
	for i := range 400 {
		g := &generator{r: rand.New(rand.NewPCG(5, uint64(i))), variables: i%2 == 0}
		p := g.policy(1 + g.r.IntN(4))
		for name, narrower := range map[string]iam.Policy{"itself": p, "one more Deny": denied(g, p), "one Allow less": less(g, p)} {
			got, err := iam.Covers(iam.DialectAWS, []iam.Policy{p}, []iam.Policy{narrower})
			if err != nil || got.Answer != iam.Yes {
				t.Fatalf("%s: %+v, %v\n%s\n%s", name, got, err, show([]iam.Policy{p}), show([]iam.Policy{narrower}))
			}
		}
		d, err := iam.Diff(iam.DialectAWS, []iam.Policy{p}, []iam.Policy{p.Clone()})
		if err != nil || !d.Empty() {
			t.Fatalf("%+v, %v\n%s", d, err, show([]iam.Policy{p}))
		}
	}
}

func denied(g *generator, p iam.Policy) iam.Policy {
	out := p.Clone()
	s := g.statement()
	s.Effect = iam.Deny
	out.Statements = append(out.Statements, s)
	return out
}

func less(g *generator, p iam.Policy) iam.Policy {
	out := p.Clone()
	at := slices.IndexFunc(out.Statements, func(s iam.Statement) bool { return s.Effect == iam.Allow })
	if len(out.Statements) > 1 && g.r.IntN(2) == 0 {
		out.Statements = slices.Delete(out.Statements, at, at+1)
		return out
	}
	s := &out.Statements[at]
	if s.Condition == nil {
		s.Condition = map[string]map[string][]string{}
	}
	g.condition(s.Condition)
	return out
}

func FuzzCovers(f *testing.F) {
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"}]}`),
		[]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"s3:?*","NotResource":"*a*","Condition":{"ForAnyValue:StringLike":{"x:k":["a*","*b"]}}}]}`))
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"x:k":"::/1"},"NumericLessThan":{"x:k":"1"}}},{"Effect":"Allow","Action":"*","Resource":"*"}]}`),
		[]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"x:k":"2026-01-01"},"BinaryEquals":{"b":"QQ=="}}}]}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		p, err := iam.Parse(a)
		if err != nil {
			return
		}
		q, err := iam.Parse(b)
		if err != nil {
			return
		}
		got, err := iam.CoversWithin(iam.DialectAWS, []iam.Policy{p}, []iam.Policy{q}, 50_000)
		if err != nil {
			return // a principal
		}
		checkCoverage(t, "", []iam.Policy{p}, []iam.Policy{q}, got)
		if same, err := iam.CoversWithin(iam.DialectAWS, []iam.Policy{p}, []iam.Policy{p}, 50_000); err != nil || same.Answer == iam.No {
			t.Fatalf("%+v, %v: a policy does not cover itself", same, err)
		}
	})
}
