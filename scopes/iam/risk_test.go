package iam_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

func TestAssess(t *testing.T) {
	for _, c := range []struct {
		name, statements string
		tier             actions.Class
		rules            string // of the reasons, in order
		way              string // the last action of a way that must be open; "-" for none at all
		words            string
	}{
		{"a read", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/k"}`, actions.ClassRead, "", "-",
			"1 known action (0 list, 1 read, 0 write, 0 tagging, 0 permissions) of 1 service on 1 named resource and 0 patterns"},
		{"a secret", `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:eu-west-1:1:secret:x-*"}`,
			actions.ClassDestructive, "hands out a secret's value", "-", "0 named resources and 1 pattern; 1 read secrets"},
		{"a write", `{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::b/*"}`, actions.ClassWrite, "AWS calls it a write", "-", "1 write"},
		{"deleting", `{"Effect":"Allow","Action":["s3:DeleteObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/*"}`, actions.ClassDestructive,
			"its name says delete; AWS calls it a write", "-", "1 cannot be undone"},
		{"a Deny takes away", `{"Effect":"Allow","Action":["s3:DeleteObject","s3:GetObject"],"Resource":"arn:aws:s3:::b/*"},{"Effect":"Deny","Action":"s3:Delete*","Resource":"*"}`,
			actions.ClassRead, "", "-", "1 read"},
		{"a Deny elsewhere takes nothing", `{"Effect":"Allow","Action":["s3:DeleteObject","s3:GetObject"],"Resource":"arn:aws:s3:::b/*"},{"Effect":"Deny","Action":"s3:Delete*","Resource":"arn:aws:s3:::b/x"}`,
			actions.ClassDestructive, "its name says delete", "-", ""},
		{"passing a role", `{"Effect":"Allow","Action":["iam:PassRole","ec2:RunInstances"],"Resource":"*"}`, actions.ClassAdmin,
			"hands a role to a service; runs code with an instance's role", "ec2:RunInstances", "every resource of the account"},
		{"passing a role and nothing to run", `{"Effect":"Allow","Action":["iam:PassRole","s3:GetObject"],"Resource":"*"}`, actions.ClassAdmin,
			"hands a role to a service", "-", ""},
		{"its own policy", `{"Effect":"Allow","Action":"iam:CreatePolicyVersion","Resource":"*"}`, actions.ClassAdmin, "writes a new default version of a managed policy, its own too", "iam:CreatePolicyVersion", ""},
		{"one role", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::1:role/x"}`, actions.ClassAdmin, "takes on a role or makes a session", "-", ""},
		{"any role", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`, actions.ClassAdmin, "takes on a role or makes a session", "sts:AssumeRole", ""},
		{"an unknown action", `{"Effect":"Allow","Action":"s3:GetObjectSoon","Resource":"arn:aws:s3:::b/*"}`, actions.ClassAdmin,
			"the action is not in the catalogue", "-", "1 are unknown"},
		{"a wildcard", `{"Effect":"Allow","Action":"sqs:Get*","Resource":"*"}`, actions.ClassRead, "", "-", "what AWS adds later to sqs:Get*"},
		{"everything but", `{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}`, actions.ClassAdmin, "", "iam:CreateAccessKey", "what AWS adds later to not s3:*"},
	} {
		p := doc(t, c.statements)[0]
		r := iam.Assess(iam.DialectAWS, p)
		var rules []string
		for _, reason := range r.Reasons {
			rules = append(rules, reason.Rule)
			if len(reason.Actions) == 0 || len(reason.Resources) == 0 {
				t.Errorf("%s: %+v", c.name, reason)
			}
		}
		if r.Tier != c.tier || (c.rules != "" && strings.Join(rules, "; ") != c.rules) || !strings.Contains(r.Blast.String(), c.words) {
			t.Errorf("%s: tier %d for %q\n%s", c.name, r.Tier, rules, r.Blast)
		}
		open := slices.ContainsFunc(r.Ways, func(w iam.Way) bool { return slices.Contains(w.OneOf, c.way) })
		if (c.way == "-") != (len(r.Ways) == 0) || (c.way != "-" && !open) {
			t.Errorf("%s: ways %+v", c.name, r.Ways)
		}
	}
}

func TestAssessFailsClosed(t *testing.T) {
	if r := iam.Assess(iam.DialectAWS, iam.Policy{}); r.Tier != actions.ClassAdmin || len(r.Reasons) != 1 {
		t.Errorf("%+v", r)
	}
}

// The tier is at least the class of every action that some request is allowed with, and Blast counts it.
func TestAssessMissesNothing(t *testing.T) {
	for i := range 40 {
		g := &generator{r: rand.New(rand.NewPCG(29, uint64(i))), variables: i%2 == 0}
		p := g.policy(1 + g.r.IntN(4))
		e, r := compiled(t, p), iam.Assess(iam.DialectAWS, p)
		for range 200 {
			q := g.request()
			a, known := actions.Lookup(q.Action)
			if !known || !verdict(t, e, q) {
				continue
			}
			service, _, _ := strings.Cut(a.Name, ":")
			if class, _ := actions.Classify(a.Name); r.Tier < class || r.Blast.Total() == 0 || !slices.Contains(r.Blast.Services, service) {
				t.Fatalf("%+v is not in %+v\n%s", q, r, show([]iam.Policy{p}))
			}
		}
	}
}

func BenchmarkAssess(b *testing.B) {
	for _, c := range []struct {
		name string
		p    iam.Policy
	}{{"ten actions", small()}, {"1800 characters", medium(b)}, {"read", readOnly(b)}, {"admin", administrator()}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				iam.Assess(iam.DialectAWS, c.p)
			}
		})
	}
}
