package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

// readOnly is a policy of the shape and size of AWS's ReadOnlyAccess: one Allow of some 1,000 patterns, a "Verb*" where
// all that the catalogue has under a verb reads, and single actions elsewhere.
func readOnly(t testing.TB) iam.Policy {
	t.Helper()
	s := iam.Statement{Effect: iam.Allow, Resource: []string{"*"}}
	for _, service := range actions.Services() {
		for _, verb := range []string{"Describe", "Get", "List", "Search", "BatchGet"} {
			var reads []string
			whole := true
			for _, a := range actions.OfService(service) {
				_, name, _ := strings.Cut(a.Name, ":")
				if !strings.HasPrefix(name, verb) {
					continue
				}
				_, secret := actions.Sensitive(a.Name)
				if (a.Level == actions.LevelRead || a.Level == actions.LevelList) && !secret {
					reads = append(reads, a.Name)
				} else {
					whole = false
				}
			}
			switch {
			case len(reads) > 0 && whole:
				s.Action = append(s.Action, service+":"+verb+"*")
			case len(reads) < 8:
				s.Action = append(s.Action, reads...)
			}
		}
	}
	if len(s.Action) < 900 || len(s.Action) > 1500 {
		t.Fatalf("%d patterns are not the size of ReadOnlyAccess", len(s.Action))
	}
	return iam.Policy{Statements: []iam.Statement{s}}
}

// administrator is AWS's AdministratorAccess.
func administrator() iam.Policy {
	return iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
}

// powerUser has the shape of AWS's PowerUserAccess: all but identities and accounts, and a few reads of those.
func powerUser() iam.Policy {
	return iam.Policy{Statements: []iam.Statement{
		{Effect: iam.Allow, NotAction: []string{"iam:*", "organizations:*", "account:*"}, Resource: []string{"*"}},
		{Effect: iam.Allow, Action: []string{"account:GetAccountInformation", "account:GetPrimaryEmail", "account:ListRegions",
			"iam:CreateServiceLinkedRole", "iam:DeleteServiceLinkedRole", "iam:ListRoles",
			"organizations:DescribeEffectivePolicy", "organizations:DescribeOrganization"}, Resource: []string{"*"}},
	}}
}

// small gives ten actions on one prefix.
func small() iam.Policy {
	return iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow,
		Action: []string{"s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectAcl", "s3:ListMultipartUploadParts",
			"s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:RestoreObject"},
		Resource: []string{"arn:aws:s3:::reports/2026/*"}}}}
}

// medium is a policy of about 1,800 characters over several services, with conditions and a Deny.
func medium(t testing.TB) iam.Policy {
	t.Helper()
	p := iam.Policy{}
	for i, service := range []string{"orders", "billing", "search", "mail"} {
		p.Statements = append(p.Statements,
			iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject", "s3:PutObject"},
				Resource: []string{"arn:aws:s3:::" + service + "-data/in/*", "arn:aws:s3:::" + service + "-data/out/*"}},
			iam.Statement{Effect: iam.Allow, Action: []string{"dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem"},
				Resource:  []string{"arn:aws:dynamodb:eu-west-1:111122223333:table/" + service},
				Condition: map[string]map[string][]string{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": {service, fmt.Sprint(i)}}}})
	}
	p.Statements = append(p.Statements, iam.Statement{Effect: iam.Deny, Action: []string{"s3:PutObject"}, Resource: []string{"*"},
		Condition: map[string]map[string][]string{"StringNotEquals": {"s3:x-amz-server-side-encryption": {"aws:kms"}}}})
	if n := iam.Size(p); n < 1500 || n > 1900 {
		t.Fatalf("%d characters", n)
	}
	return p
}

func TestCoversAtScale(t *testing.T) {
	read, admin, power := readOnly(t), administrator(), powerUser()
	t.Logf("%d patterns, %d characters", len(read.Statements[0].Action), iam.Size(read))
	narrower := read.Clone()
	narrower.Statements[0].Action = slices.Delete(narrower.Statements[0].Action, 500, 501)
	for _, c := range []struct {
		name string
		a, b iam.Policy
		want iam.Answer
	}{
		{"admin over read", admin, read, iam.Yes}, {"read over admin", read, admin, iam.No},
		{"read over itself", read, read, iam.Yes}, {"read over one less", read, narrower, iam.Yes}, {"one less over read", narrower, read, iam.No},
		{"power over read", power, read, iam.No}, {"read over power", read, power, iam.No},
		{"admin over power", admin, power, iam.Yes}, {"power over admin", power, admin, iam.No},
		{"power over itself", power, power, iam.Yes},
		{"medium over itself", medium(t), medium(t), iam.Yes}, {"admin over medium", admin, medium(t), iam.Yes},
	} {
		got, err := iam.Covers(iam.DialectAWS, []iam.Policy{c.a}, []iam.Policy{c.b})
		if err != nil || got.Answer != c.want {
			t.Errorf("%s: %v %v", c.name, got, err)
			continue
		}
		checkCoverage(t, c.name, []iam.Policy{c.a}, []iam.Policy{c.b}, got)
		if got.Witness != nil {
			t.Logf("%s: %+v", c.name, *got.Witness)
		}
	}
}

func BenchmarkCovers(b *testing.B) {
	read, admin, power, med := readOnly(b), administrator(), powerUser(), medium(b)
	for _, c := range []struct {
		name string
		a, b iam.Policy
	}{
		{"ten actions in itself", small(), small()}, {"ten actions in admin", admin, small()}, {"1800 characters in itself", med, med},
		{"1800 characters in power", power, med}, {"read in admin", admin, read}, {"read in power", power, read}, {"power in read", read, power}, {"read in itself", read, read},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := iam.Covers(iam.DialectAWS, []iam.Policy{c.a}, []iam.Policy{c.b}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCoversGrowth has n statements on a bucket each, with a condition, against the same.
func BenchmarkCoversGrowth(b *testing.B) {
	for _, n := range []int{10, 20, 40, 80, 160} {
		p := iam.Policy{}
		for i := range n {
			p.Statements = append(p.Statements, iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject", "s3:PutObject"},
				Resource:  []string{fmt.Sprintf("arn:aws:s3:::bucket-%03d/*", i)},
				Condition: map[string]map[string][]string{"StringEquals": {"aws:PrincipalTag/team": {fmt.Sprint("team-", i)}}}})
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				got, err := iam.Covers(iam.DialectAWS, []iam.Policy{p}, []iam.Policy{p})
				if err != nil || got.Answer != iam.Yes {
					b.Fatal(got, err)
				}
			}
		})
	}
}
