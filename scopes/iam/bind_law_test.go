package iam_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

func pick[T any](g *rand.Rand, from ...T) T { return from[g.IntN(len(from))] }

// randomAllows is a policy that Bind takes: Allows that say what they give, and some Denies.
func randomAllows(g *rand.Rand) iam.Policy {
	p := iam.Policy{Statements: []iam.Statement{}}
	for i := range 1 + g.IntN(4) {
		s := iam.Statement{Effect: iam.Allow}
		if i > 0 && g.IntN(4) == 0 {
			s.Effect = iam.Deny
		}
		for range 1 + g.IntN(2) {
			s.Action = append(s.Action, pick(g, "s3:GetObject", "s3:Get*", "s3:*Object", "s3:PutObject", "sqs:SendMessage", "sqs:*", "*"))
			s.Resource = append(s.Resource, pick(g, "*", "arn:aws:s3:::b/*", "arn:aws:s3:::?/k", "arn:aws:s3:::b/${aws:username}/*", "arn:aws:sqs:*:*:*", "arn:aws:sqs:*:1:q"))
		}
		if g.IntN(3) == 0 {
			s.Condition = map[string]map[string][]string{pick(g, "StringEquals", "StringNotLike", "StringLikeIfExists", "ForAllValues:StringLike"): {
				"aws:username": {pick(g, "ann", "b*")}}}
		}
		p.Statements = append(p.Statements, s)
	}
	return p
}

// Bind only narrows, and within its limits it takes nothing away: in time and from the networks, the bound policy allows
// what the policy did, and elsewhere it denies everything, even to who calls through a resource policy.
func TestBindKeepsWhatIsInsideItsLimits(t *testing.T) {
	deadline := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var allowed, outside int
	for seed := range uint64(3000) {
		g := rand.New(rand.NewPCG(seed, 26))
		p := randomAllows(g)
		l := iam.Limits{NotAfter: deadline, Dialect: iam.DialectAWS}
		if g.IntN(2) == 0 {
			l.SourceCIDRs = []string{"203.0.113.0/24", "2001:db8::/32"}
		}
		bound, err := iam.Bind(p, l)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		before, err := iam.Compile(iam.DialectAWS, []iam.Policy{p}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		after, err := iam.Compile(iam.DialectAWS, []iam.Policy{bound}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			at := pick(g, deadline.Add(-time.Hour), deadline, deadline.Add(time.Second))
			from := pick(g, "203.0.113.9", "2001:db8::9", "198.51.100.9")
			viaAWS := pick(g, "true", "false")
			r := iam.Request{Action: pick(g, "s3:GetObject", "s3:PutObject", "s3:ListBucket", "sqs:SendMessage", "iam:PassRole"),
				Resource: pick(g, "arn:aws:s3:::b/k", "arn:aws:s3:::c/k", "arn:aws:s3:::b/ann/k", "arn:aws:sqs:r:1:q", "arn:aws:sqs:r:2:q", "*"),
				Context:  map[string][]string{"aws:CurrentTime": {at.Format(time.RFC3339)}, "aws:SourceIp": {from}, "aws:ViaAWSService": {viaAWS}}}
			if g.IntN(4) > 0 {
				r.Context["aws:username"] = []string{pick(g, "ann", "bob", "*")}
			}
			was, err := before.Allows(r)
			if err != nil {
				t.Fatal(err)
			}
			is, err := after.Allows(r)
			if err != nil {
				t.Fatal(err)
			}
			inside := !at.After(deadline) && (len(l.SourceCIDRs) == 0 || from != "198.51.100.9" || viaAWS == "true")
			if want := inside && was.Verdict == iam.Allowed; (is.Verdict == iam.Allowed) != want {
				t.Fatalf("%+v\nbound to %+v: %s was %s\nrequest %+v", p, l, is.Verdict, was.Verdict, r)
			}
			if !inside && is.Verdict != iam.ExplicitDeny {
				t.Fatalf("%+v\nbound to %+v: %s outside of its limits\nrequest %+v", p, l, is.Verdict, r)
			}
			if is.Verdict == iam.Allowed {
				allowed++
			} else if !inside {
				outside++
			}
		}
	}
	if allowed < 3000 || outside < 3000 {
		t.Errorf("only %d allowed, %d outside", allowed, outside)
	}
}
