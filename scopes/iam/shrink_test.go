package iam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

func TestShrink(t *testing.T) {
	allow := func(actions, resources string) string {
		return `{"Effect":"Allow","Action":` + list(actions) + `,"Resource":` + list(resources) + `}`
	}
	for _, c := range []struct {
		name, in, want string
		step           string // in the last step
	}{
		{"values", allow("s3:GetObject s3:Get* s3:get*", "arn:aws:s3:::b/* arn:aws:s3:::b/a arn:aws:s3:::b/a/*"),
			`{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}`, "dropped Resource"},
		{"values with defaults", allow("s3:GetObject", "arn:aws:s3:::b/${aws:username,'x'}/* arn:aws:s3:::b/*"),
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, "dropped Resource"},
		{"actions", allow("s3:GetObject", "arn:aws:s3:::b/*") + "," + allow("s3:PutObject", "arn:aws:s3:::b/*"),
			`{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/*"}`, "which differ in their actions"},
		{"resources", allow("s3:GetObject", "arn:aws:s3:::b/*") + "," + allow("S3:getobject", "arn:aws:s3:::c/*"),
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/*","arn:aws:s3:::c/*"]}`, "which differ in their resources"},
		{"one condition", when(`"StringEquals":{"x:k":"v"}`) + "," + when(`"StringEquals":{"x:k":"w"}`), when(`"StringEquals":{"x:k":["v","w"]}`), "the values of one condition"},
		{"superfluous", allow("s3:*", "*") + "," + `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b","Condition":{"Bool":{"x:k":"true"}}}`,
			`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, "dropped statement 2"},
		{"names", `{"Sid":"ReadTheReports","Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`, `{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`, "dropped the Id"},
		{"apart", allow("s3:GetObject", "arn:aws:s3:::b/*") + "," + allow("s3:ListBucket", "arn:aws:s3:::b") + "," + allow("sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:q"),
			`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket","sqs:SendMessage"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*","arn:aws:sqs:eu-west-1:111122223333:q"]}`,
			"cannot take each other's resources"},
	} {
		p := doc(t, c.in)[0]
		want := doc(t, c.want)[0]
		got, report, err := iam.Shrink(iam.DialectAWS, p, iam.Size(want))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if show([]iam.Policy{got}) != strings.ReplaceAll(show([]iam.Policy{want}), `["s3:GetObject"]`, `"s3:GetObject"`) {
			t.Errorf("%s: %s", c.name, show([]iam.Policy{got}))
		}
		last := report.Steps[len(report.Steps)-1]
		saved := 0
		for _, s := range report.Steps {
			saved += s.Saved
		}
		if !strings.Contains(last.What, c.step) || last.Catalogue != (c.name == "apart") || report.Before-saved != report.After || report.After != iam.Size(got) {
			t.Errorf("%s: %+v", c.name, report)
		}
		if c.name != "apart" {
			equalPolicies(t, c.name, p, got)
		}
	}
}

func equalPolicies(t *testing.T, name string, a, b iam.Policy) {
	t.Helper()
	for _, way := range [][2]iam.Policy{{a, b}, {b, a}} {
		got, err := iam.Covers(iam.DialectAWS, []iam.Policy{way[0]}, []iam.Policy{way[1]})
		if err != nil || got.Answer != iam.Yes {
			t.Errorf("%s: %+v, %v\n%s\n%s", name, got, err, show([]iam.Policy{a}), show([]iam.Policy{b}))
		}
	}
}

// What must not be merged or made a wildcard stays apart.
func TestShrinkKeepsApart(t *testing.T) {
	for name, in := range map[string]string{
		"another resource and action": `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/*"},{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`,
		"two values of a negated":     when(`"StringNotEquals":{"x:k":"v"}`) + "," + when(`"StringNotEquals":{"x:k":"w"},"Bool":{"x:l":"true"}`),
		"all of a list":               when(`"ForAllValues:StringEquals":{"aws:TagKeys":"v"}`) + "," + when(`"ForAllValues:StringEquals":{"aws:TagKeys":"w"}`),
		// Without a username, AWS may not count the statement.
		"a variable": `{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/${aws:username}/*","arn:aws:s3:::b/*"]}`,
		"an effect":  act("s3:*") + `,{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`,
		"actions under a wildcard": `{"Effect":"Allow","Action":["sqs:GetQueueAttributes","sqs:GetQueueUrl"],"Resource":"*"},` +
			`{"Effect":"Allow","Action":"sqs:SendMessage","Resource":"arn:aws:sqs:*:*:x"}`,
		"an unknown action": `{"Effect":"Allow","Action":"s3:NewThing","Resource":"arn:aws:s3:::b"},{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
		"no resource but *": `{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"arn:aws:s3:::b"},{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}`,
		"everything":        `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"},{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}`,
	} {
		p := doc(t, in)[0]
		got, report, err := iam.Shrink(iam.DialectAWS, p, 10)
		if !errors.Is(err, iam.ErrTooLong) || !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
		if show([]iam.Policy{got}) != show([]iam.Policy{p}) {
			t.Errorf("%s: %s", name, show([]iam.Policy{got}))
		}
		if report.After != report.Before || len(report.Help) == 0 || len(report.Parts) == 0 {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

func TestShrinkLeavesWhatFits(t *testing.T) {
	p := doc(t, `{"Sid":"A","Effect":"Allow","Action":["s3:GetObject","s3:Get*"],"Resource":"*"}`)[0]
	got, report, err := iam.Shrink(iam.DialectAWS, p, iam.Size(p))
	if err != nil || show([]iam.Policy{got}) != show([]iam.Policy{p}) || len(report.Steps) != 0 {
		t.Errorf("%s, %+v, %v", show([]iam.Policy{got}), report, err)
	}
	if _, _, err := iam.Shrink(iam.DialectAWS, doc(t, `{"Effect":"Deny","Action":"*","Resource":"*"}`)[0], 2048); !errors.Is(err, iam.ErrEmpty) {
		t.Errorf("only a Deny: %v", err)
	}
}

// The refusal says what is too long and what would help.
func TestShrinkRefusal(t *testing.T) {
	s := iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject"}}
	for i := range 40 {
		s.Resource = append(s.Resource, fmt.Sprintf("arn:aws:s3:::company-reports-production/finance/2026/%02d/*", i))
	}
	_, report, err := iam.Shrink(iam.DialectAWS, iam.Policy{Statements: []iam.Statement{s}}, iam.MaxSize)
	if !errors.Is(err, iam.ErrTooLong) {
		t.Fatal(err)
	}
	for _, want := range []string{"characters at the least are over the limit of 2048", "Resource of statement 1: ", "(40 values)", "split the grant into 2 or more",
		`carry "company-reports-production/finance/2026/" in a session tag and write ${aws:PrincipalTag/p} for it, which saves 760`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if p := report.Parts[0]; p.Element != "Resource" || p.Values != 40 || p.Characters < 2000 {
		t.Errorf("%+v", p)
	}
}

// A policy to bind has to leave room for what Bind adds.
func TestShrinkBound(t *testing.T) {
	p := iam.Policy{}
	for i := range 9 {
		p.Statements = append(p.Statements, iam.Statement{Sid: fmt.Sprint("Table", i), Effect: iam.Allow, Action: []string{"dynamodb:GetItem", "dynamodb:Query"},
			Resource: []string{fmt.Sprintf("arn:aws:dynamodb:eu-west-1:111122223333:table/orders-%d", i)}})
	}
	l := iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS, Regions: []string{"eu-west-1"}}
	if n := iam.Size(p); n > iam.MaxSize {
		t.Fatalf("%d characters do not fit unbound", n)
	}
	got, report, err := iam.ShrinkBound(p, l)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := iam.Bind(got, l)
	if err != nil || iam.Size(bound) > iam.MaxSize || iam.Size(bound) != report.After || report.Before <= iam.MaxSize {
		t.Errorf("%+v, %v", report, err)
	}
	equalPolicies(t, "", p, got)
	if _, _, err := iam.ShrinkBound(p, iam.Limits{}); !errors.Is(err, iam.ErrPolicy) || errors.Is(err, iam.ErrTooLong) {
		t.Errorf("without a deadline: %v", err)
	}
}

// Shrink keeps the set of requests and makes nothing longer, whatever the policy.
func TestShrinkKeepsTheSet(t *testing.T) {
	n := 400
	if testing.Short() || raceEnabled {
		n = 60
	}
	shorter := 0
	for i := range n {
		g := &generator{r: rand.New(rand.NewPCG(11, uint64(i))), variables: i%2 == 0}
		p := g.policy(2 + g.r.IntN(4))
		got, report, err := iam.Shrink(iam.DialectAWS, p, 10)
		if !errors.Is(err, iam.ErrTooLong) {
			t.Fatalf("%v\n%s", err, show([]iam.Policy{p}))
		}
		if report.After != iam.Size(got) || report.After > report.Before {
			t.Fatalf("%+v", report)
		}
		if report.After < report.Before {
			shorter++
		}
		leans := false
		for _, s := range report.Steps {
			leans = leans || s.Catalogue
		}
		if !leans {
			equalPolicies(t, "", p, got)
		}
	}
	if shorter < n/4 {
		t.Errorf("only %d of %d became shorter", shorter, n)
	}
}

func BenchmarkShrink(b *testing.B) {
	// Twice the medium policy, each statement for itself: over the limit until it is merged.
	long := medium(b)
	for _, s := range medium(b).Statements[:6] {
		s.Action = s.Action[:1]
		s.Sid = ""
		long.Statements = append(long.Statements, s)
	}
	for _, c := range []struct {
		name  string
		p     iam.Policy
		limit int
	}{{"ten actions", small(), 2048}, {"1800 characters, fits", medium(b), 2048}, {"2600 characters to 2048", long, 2048}, {"2600 characters to nothing", long, 10}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := iam.Shrink(iam.DialectAWS, c.p, c.limit); err != nil && !errors.Is(err, iam.ErrTooLong) {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzShrink(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":["s3:Get*","s3:GetObject"],"Resource":["arn:aws:s3:::b/*","arn:aws:s3:::b/${aws:username}"]},` +
		`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b"},{"Effect":"Deny","NotAction":"s3:*","NotResource":"*"}]}`))
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"${","Condition":{"Null":{"x:k":["true","false"]}}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := iam.Parse(b)
		if err != nil || len(p.Statements) > 6 {
			return
		}
		got, report, err := iam.Shrink(iam.DialectAWS, p, 10)
		if err == nil || report.After > report.Before {
			t.Fatalf("%+v, %v", report, err)
		}
		if !errors.Is(err, iam.ErrTooLong) {
			return // a principal, or nothing allowed
		}
		if iam.Size(got) != report.After {
			t.Fatalf("%+v", report)
		}
	})
}
