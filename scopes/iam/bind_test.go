package iam_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

func TestBindRegions(t *testing.T) {
	for _, c := range []struct {
		name    string
		actions []string
		regions []string
		want    string // the Deny
	}{
		{"one", []string{"s3:GetObject"}, []string{"eu-west-1"},
			`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-west-1"}}}`},
		{"two, and a global service", []string{"s3:GetObject", "IAM:GetRole"}, []string{"eu-west-1", "eu-central-1", "eu-west-1"},
			`{"Effect":"Deny","NotAction":"iam:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["eu-central-1","eu-west-1"]}}}`},
		{"one action of a regional service", []string{"s3:*"}, []string{"eu-west-1"},
			`{"Effect":"Deny","NotAction":"s3:ListAllMyBuckets","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-west-1"}}}`},
		{"the global services' own Region", []string{"iam:GetRole", "globalaccelerator:ListAccelerators"}, []string{"us-east-1"},
			`{"Effect":"Deny","NotAction":"globalaccelerator:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"us-east-1"}}}`},
		{"STS has Regions", []string{"sts:GetCallerIdentity"}, []string{"eu-west-1"},
			`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-west-1"}}}`},
	} {
		p := iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: c.actions, Resource: []string{"*"}}}}
		bound, err := iam.Bind(p, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS, Regions: c.regions})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := show([]iam.Policy{bound}); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
		without, err := iam.Bind(p, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS})
		if err != nil || iam.Size(bound) != iam.Size(without)+len(c.want)+1 {
			t.Errorf("%s: %d characters after %d, %v", c.name, iam.Size(bound), iam.Size(without), err)
		}
	}
}

func TestGlobalEndpointsAreInTheCatalogue(t *testing.T) {
	for name := range iam.GlobalEndpoints() {
		if _, action := actions.Lookup(name); !action && len(actions.OfService(name)) == 0 {
			t.Errorf("%q is no service and no action of the catalogue", name)
		}
	}
}

func TestBindRegionsRefuses(t *testing.T) {
	for _, l := range []iam.Limits{
		{NotAfter: deadline(), Dialect: iam.DialectAWS, Regions: []string{"*"}},
		{NotAfter: deadline(), Dialect: iam.DialectAWS, Regions: []string{"eu-west-1", ""}},
		{NotAfter: deadline(), Dialect: iam.DialectMinIO, Regions: []string{"eu-west-1"}},
	} {
		if _, err := iam.Bind(read(), l); !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// Bind only removes: what it returns is covered by what it was given, and denies what it says.
func TestBindOnlyNarrows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	g := &generator{r: r}
	for i := range 300 {
		p := g.policy(1 + r.IntN(3))
		for j := range p.Statements {
			s := &p.Statements[j]
			s.NotAction, s.NotResource = nil, nil
			if len(s.Action) == 0 {
				s.Action = []string{g.action()}
			}
			if len(s.Resource) == 0 {
				s.Resource = []string{g.resource()}
			}
		}
		p.Statements[0].Effect = iam.Allow
		l := iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS}
		if r.IntN(2) == 0 {
			l.SourceCIDRs = []string{"203.0.113.0/24"}
		}
		if r.IntN(2) == 0 {
			l.Regions = []string{"eu-west-1", "us-east-1"}[:1+r.IntN(2)]
		}
		bound, err := iam.Bind(p, l)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		in, out := []iam.Policy{p}, []iam.Policy{bound}
		got, err := iam.Covers(iam.DialectAWS, in, out)
		if err != nil || got.Answer != iam.Yes {
			t.Fatalf("%d: %+v, %v\n%s\n%s", i, got, err, show(in), show(out))
		}
		if len(l.SourceCIDRs)+len(l.Regions) == 0 { // and nothing more: before the deadline all is as it was
			inTime := p.Clone()
			inTime.Statements = append(inTime.Statements, doc(t, denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}`))[0].Statements...)
			if got, err := iam.Covers(iam.DialectAWS, out, []iam.Policy{inTime}); err != nil || got.Answer != iam.Yes {
				t.Fatalf("%d: %+v, %v\n%s\n%s", i, got, err, show(in), show(out))
			}
		}
		// The narrowed policy is within the deadline, whatever else it says.
		late := doc(t, all+","+denyWhen(`"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}`))
		if got, err := iam.Covers(iam.DialectAWS, late, out); err != nil || got.Answer != iam.Yes {
			t.Fatalf("%d: %+v, %v\n%s", i, got, err, show(out))
		}
		if len(l.Regions) > 0 && !slices.ContainsFunc(p.Statements, func(s iam.Statement) bool { return global(s.Action) }) {
			here := doc(t, when(`"StringEquals":{"aws:RequestedRegion":`+list(strings.Join(l.Regions, " "))+`}`))
			if got, err := iam.Covers(iam.DialectAWS, here, out); err != nil || got.Answer != iam.Yes {
				t.Fatalf("%d: %+v, %v\n%s", i, got, err, show(out))
			}
		}
	}
}

// global tells whether an action could be a global service's.
func global(list []string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		return strings.HasPrefix(a, "*") || strings.HasPrefix(a, "iam:") || a == "s3:*" || strings.HasPrefix(a, "s3:*") || strings.HasPrefix(a, "?")
	})
}
