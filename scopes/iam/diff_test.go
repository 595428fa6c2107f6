package iam_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

func TestDiff(t *testing.T) {
	read, admin := readOnly(t), administrator()
	for _, c := range []struct {
		name         string
		a, b         []iam.Policy
		gained, lost []string // the beginnings of the changes' texts
		tier         actions.Class
	}{
		{"equal", doc(t, all), doc(t, all), nil, nil, 0},
		{"said otherwise", doc(t, act("s3:Get* s3:GetObject")), doc(t, act("S3:get*")), nil, nil, 0},
		{"one action more", doc(t, act("s3:GetObject")), doc(t, act("s3:GetObject s3:PutObject s3:DeleteObject")),
			[]string{"s3:PutObject, s3:DeleteObject on *; for one, s3:DeleteObject on "}, nil, actions.ClassDestructive},
		{"another bucket", doc(t, `{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::a/*","arn:aws:s3:::b/*"]}`),
			doc(t, `{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::a/*","arn:aws:s3:::c/*"]}`),
			[]string{"s3:GetObject on arn:aws:s3:::c/*; for one, s3:GetObject on arn:aws:s3:::c/"},
			[]string{"s3:GetObject on arn:aws:s3:::b/*", "s3:PutObject on arn:aws:s3:::a/*, arn:aws:s3:::b/*"}, actions.ClassRead},
		{"a Deny", doc(t, act("s3:*")), doc(t, act("s3:*")+`,{"Effect":"Deny","Action":"s3:DeleteBucket","Resource":"*"}`), nil,
			[]string{"s3:* on *; for one, s3:DeleteBucket on "}, 0},
		{"a condition", doc(t, when(`"StringEquals":{"x:k":"v"}`)), doc(t, when(`"StringEquals":{"x:k":"w"}`)),
			[]string{"* on * when x:k StringEquals w; for one, "}, []string{"* on * when x:k StringEquals v; for one, "}, actions.ClassAdmin},
		{"a complement", doc(t, `{"Effect":"Allow","NotAction":["s3:*","iam:*"],"Resource":"*"}`), doc(t, `{"Effect":"Allow","NotAction":["s3:*"],"Resource":"*"}`),
			[]string{"everything but s3:* on *; for one, iam:"}, nil, actions.ClassAdmin},
		{"what cannot be told", doc(t, when(`"StringEquals":{"x:k":"5"}`)), doc(t, when(`"NumericEquals":{"x:k":"5"}`)),
			[]string{"* on * when x:k NumericEquals 5; perhaps: condition key"}, nil, actions.ClassAdmin},
		{"read to admin", []iam.Policy{read}, []iam.Policy{admin}, []string{"* on *; for one, "}, nil, actions.ClassAdmin},
	} {
		d, err := iam.Diff(iam.DialectAWS, c.a, c.b)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		checkChanges(t, c.name+", gained", c.a, c.b, d.Gained, c.gained)
		checkChanges(t, c.name+", lost", c.b, c.a, d.Lost, c.lost)
		tier := actions.Class(0)
		for _, g := range d.Gained {
			tier = max(tier, g.Tier)
		}
		if tier != c.tier || d.Empty() != (c.gained == nil && c.lost == nil) {
			t.Errorf("%s: tier %d, %+v", c.name, tier, d)
		}
	}
}

func checkChanges(t *testing.T, name string, a, b []iam.Policy, got []iam.Change, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d changes, want %d: %v", name, len(got), len(want), got)
		return
	}
	for i, c := range got {
		if !strings.HasPrefix(c.String(), want[i]) {
			t.Errorf("%s: %s\nwant %s", name, c, want[i])
		}
		if !c.Known {
			continue
		}
		checkCoverage(t, name, a, b, iam.Coverage{Answer: iam.No, Witness: &c.Witness})
		if class, why := actions.Classify(c.Witness.Action); class != c.Tier {
			t.Errorf("%s: the tier is %s, and the witness %s is %s: %s", name, c.Tier, c.Witness.Action, class, why)
		}
	}
}

// What a change names is what makes the difference, no more.
func TestDiffNamesActions(t *testing.T) {
	d, err := iam.Diff(iam.DialectAWS, doc(t, act("sqs:Get* sqs:List*")), doc(t, act("sqs:*")+`,{"Effect":"Deny","Action":"sqs:Delete*","Resource":"*"}`))
	if err != nil || len(d.Gained) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	names := strings.Join(d.Gained[0].Names, " ")
	if !strings.Contains(names, "sqs:SendMessage") || strings.Contains(names, "sqs:Get") || strings.Contains(names, "sqs:Delete") {
		t.Error(names)
	}
}

func BenchmarkDiff(b *testing.B) {
	read, admin, power := readOnly(b), administrator(), powerUser()
	for _, c := range []struct {
		name string
		a, b iam.Policy
	}{{"1800 characters and itself", medium(b), medium(b)}, {"read and power", read, power}, {"nothing and read", small(), read}, {"read and admin", read, admin}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := iam.Diff(iam.DialectAWS, []iam.Policy{c.a}, []iam.Policy{c.b}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
