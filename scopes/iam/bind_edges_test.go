package iam_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// F9: with read on a and delete on b, deleting in a was an implicit deny alone, which a resource policy that names the
// session does not mind.
func TestEveryPairHasAnEdge(t *testing.T) {
	p := policyOf(
		iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::a/*"}},
		iam.Statement{Effect: iam.Allow, Action: []string{"s3:DeleteObject"}, Resource: []string{"arn:aws:s3:::b/*"}},
		iam.Statement{Effect: iam.Allow, Action: []string{"s3:ListAllMyBuckets"}, Resource: []string{"*"}},
	)
	for _, d := range iam.Dialects() {
		e := boundFor(t, d, p)
		for _, r := range []struct{ action, resource, want string }{
			{"s3:GetObject", "arn:aws:s3:::a/k", "allow"},
			{"s3:DeleteObject", "arn:aws:s3:::b/k", "allow"},
			{"s3:ListAllMyBuckets", "*", "allow"},
			{"s3:DeleteObject", "arn:aws:s3:::a/k", "explicit_deny"},
			{"s3:GetObject", "arn:aws:s3:::b/k", "explicit_deny"},
			{"s3:GetObject", "arn:aws:s3:::other/k", "explicit_deny"},
			{"s3:PutObject", "arn:aws:s3:::a/k", "explicit_deny"},
		} {
			got, err := e.Allows(iam.Request{Action: r.action, Resource: r.resource, Context: inTime()})
			if err != nil {
				t.Fatal(err)
			}
			if d == iam.DialectMinIO && r.action == "s3:PutObject" {
				// MinIO has no NotAction, and no bucket policy gives a session anything (TestMinIOResourcePolicies).
				r.want = "implicit_deny"
			}
			if got.Verdict.String() != r.want {
				t.Errorf("%s: %s on %s: %s, want %s", d, r.action, r.resource, got.Verdict, r.want)
			}
		}
	}
}

// A random policy that is bound gives what it gave, and denies explicitly every pair that no Allow of it names.
func TestEdgesDenyEveryOtherPair(t *testing.T) {
	names := []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:GetObjectTagging"}
	where := []string{"arn:aws:s3:::a/*", "arn:aws:s3:::a/x/*", "arn:aws:s3:::b/*", "arn:aws:s3:::a", "arn:aws:s3:::b", "*"}
	at := []string{"arn:aws:s3:::a/k", "arn:aws:s3:::a/x/k", "arn:aws:s3:::b/k", "arn:aws:s3:::a", "arn:aws:s3:::b", "arn:aws:s3:::c/k"}
	denied := 0
	for seed := range uint64(600) {
		g := rand.New(rand.NewPCG(seed, 9))
		var p iam.Policy
		for range 1 + g.IntN(4) {
			p.Statements = append(p.Statements, iam.Statement{Effect: iam.Allow,
				Action: []string{pick(g, names...), pick(g, names...)}, Resource: []string{pick(g, where...), pick(g, where...)}})
		}
		for _, d := range iam.Dialects() {
			before, err := iam.Compile(d, []iam.Policy{p}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			after := boundFor(t, d, p)
			for _, action := range names {
				for _, resource := range at {
					r := iam.Request{Action: action, Resource: resource, Context: inTime()}
					was, err1 := before.Allows(r)
					is, err2 := after.Allows(r)
					if err := errors.Join(err1, err2); err != nil {
						t.Fatal(err)
					}
					granted := slices.ContainsFunc(p.Statements, func(s iam.Statement) bool { return slices.Contains(s.Action, action) })
					switch {
					case was.Verdict == iam.Allowed && is.Verdict != iam.Allowed:
						t.Fatalf("seed %d, %s: %s on %s was allowed and is %s\n%+v", seed, d, action, resource, is.Verdict, p)
					case was.Verdict != iam.Allowed && is.Verdict != iam.ExplicitDeny && (granted || d != iam.DialectMinIO):
						t.Fatalf("seed %d, %s: %s on %s is %s\n%+v", seed, d, action, resource, is.Verdict, p)
					case is.Verdict == iam.ExplicitDeny:
						denied++
					}
				}
			}
		}
	}
	if denied < 10_000 {
		t.Errorf("only %d explicit denies", denied)
	}
}

// What the edges cost: a pair more costs its list once more.
func TestEdgesAreShort(t *testing.T) {
	var many []string
	for _, name := range strings.Split("abcdefghij", "") {
		many = append(many, "arn:aws:s3:::production-"+name+"/reports/*")
	}
	one := policyOf(iam.Statement{Effect: iam.Allow, Action: []string{"s3:GetObject"}, Resource: many})
	for d, most := range map[iam.Dialect]int{
		iam.DialectAWS: 1200, iam.DialectMinIO: 1260, iam.DialectRadosGW: 1800, iam.DialectVersityGW: 1200,
	} {
		bound, err := iam.Bind(one, iam.Limits{NotAfter: deadline(), Dialect: d})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d characters, %d before", d, iam.Size(bound), iam.Size(one))
		if n := iam.Size(bound); n > most {
			t.Errorf("%s: %d characters, over %d", d, n, most)
		}
	}
}

func inTime() map[string][]string {
	return map[string][]string{"aws:CurrentTime": {deadline().Add(-time.Minute).Format(time.RFC3339)}}
}

func boundFor(t *testing.T, d iam.Dialect, p iam.Policy) *iam.Evaluator {
	t.Helper()
	bound, err := iam.Bind(p, iam.Limits{NotAfter: deadline(), Dialect: d})
	if err != nil {
		t.Fatalf("%s: %v", d, err)
	}
	e, err := iam.Compile(d, []iam.Policy{bound}, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", d, err)
	}
	return e
}
