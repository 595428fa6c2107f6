package s3calls_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/valetkey/valetkey/scopes/iam"
)

func pick[T any](g *rand.Rand, from ...T) T { return from[g.IntN(len(from))] }

// randomPolicy is what a scope could compile to for the server and the Denies that Bind could add, over the world's names.
func randomPolicy(g *rand.Rand, d iam.Dialect) iam.Policy {
	const arn = "arn:aws:s3:::"
	buckets := []string{bucketA, bucketA, bucketB, "calls-*", "*-a", "c*a"}
	keys := []string{"*", "dir/*", "*/key", "dir/key", "other/key*", "d*y", "dir/key.gone", "*.gone", "dir"}
	if d == iam.DialectRadosGW { // the dialect refuses the others
		buckets, keys = buckets[:3], []string{"*", "dir/*", "dir/key", "other/key*", "dir/key.gone", "dir", "d*"}
	}
	acts := []string{"s3:GetObject", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion", "s3:GetObjectTagging",
		"s3:PutObjectTagging", "s3:ListBucket", "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:ListAllMyBuckets",
		"s3:DeleteBucket", "s3:Get*", "s3:List*", "s3:*", "s3:*Object", "s3:*Version*"}
	if d == iam.DialectRadosGW {
		acts = acts[:len(acts)-2]
	}
	var p iam.Policy
	for i := range 1 + g.IntN(4) {
		s := iam.Statement{Effect: iam.Allow}
		if i > 0 && g.IntN(3) == 0 {
			s.Effect = iam.Deny
		}
		for range 1 + g.IntN(3) {
			s.Action = append(s.Action, pick(g, acts...))
			r := arn + pick(g, buckets...)
			if g.IntN(5) > 1 {
				r += "/" + pick(g, keys...)
			}
			if g.IntN(8) == 0 {
				r = "*"
			}
			s.Resource = append(s.Resource, r)
		}
		if s.Effect == iam.Deny && g.IntN(3) == 0 {
			s.Resource, s.NotResource = nil, s.Resource
		}
		if s.Effect == iam.Deny && d == iam.DialectVersityGW && g.IntN(3) == 0 {
			s.Action, s.NotAction = nil, s.Action
		}
		s.Condition = randomCondition(g, &s, d)
		p.Statements = append(p.Statements, s)
	}
	return p
}

// randomCondition is one in three; one of listing makes the statement one of listing.
func randomCondition(g *rand.Rand, s *iam.Statement, d iam.Dialect) map[string]map[string][]string {
	switch g.IntN(9) {
	case 0:
		return map[string]map[string][]string{pick(g, "IpAddress", "NotIpAddress"): {"aws:SourceIp": {pick(g, "127.0.0.0/8", "192.0.2.0/24", "127.0.0.1/32")}}}
	case 1:
		return map[string]map[string][]string{pick(g, "DateLessThan", "DateGreaterThan"): {"aws:CurrentTime": {pick(g, "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z")}}}
	case 2:
		s.Action, s.NotAction = []string{pick(g, "s3:ListBucket", "s3:ListBucketVersions")}, nil
		op := pick(g, "StringEquals", "StringLike", "StringNotEquals", "StringNotLike")
		if d == iam.DialectMinIO {
			switch g.IntN(4) {
			case 0:
				return map[string]map[string][]string{"Null": {"s3:prefix": {pick(g, "true", "false")}}}
			case 1:
				op = pick(g, "ForAllValues:", "ForAnyValue:") + pick(g, "StringEquals", "StringLike")
			}
		}
		values := []string{pick(g, "dir/", "dir/*", "*", "other/"), pick(g, "DIR/", "o*")}
		if d == iam.DialectRadosGW { // the dialect refuses the others
			op, values = pick(g, "StringEquals", "StringLike"), []string{pick(g, "dir/", "dir/*", "*", "other/", "o*")}
		}
		return map[string]map[string][]string{op: {"s3:prefix": values}}
	case 3:
		if d == iam.DialectRadosGW {
			return nil
		}
		s.Action, s.NotAction = []string{"s3:ListBucket"}, nil
		return map[string]map[string][]string{pick(g, "NumericLessThanEquals", "NumericGreaterThan", "NumericEquals"): {"s3:max-keys": {pick(g, "5", "10")}}}
	}
	return nil
}

// asked is one S3 call with what the policies see of it.
type asked struct {
	call     string
	requests [][]iam.Request // it passes where one of these lists is allowed whole
	do       func(context.Context, *s3.Client) error
}

// ask makes the model's checks of a call on a target.
func ask(c call, model iam.Call, t target) asked {
	const arn = "arn:aws:s3:::"
	out := asked{call: fmt.Sprintf("%s on %s/%s", c.name, t.bucket, t.key), do: func(ctx context.Context, cl *s3.Client) error { return c.do(ctx, cl, t) }}
	key := t.key
	if t.changes(c) {
		key += ".gone"
	}
	for _, way := range model.Any {
		var list []iam.Request
		for _, check := range way {
			r := iam.Request{Action: check.Action, Context: map[string][]string{"aws:SourceIp": {"127.0.0.1"}, "aws:SecureTransport": {"false"},
				"aws:CurrentTime": {time.Now().UTC().Format(time.RFC3339)}}}
			switch check.On {
			case iam.FormNone:
				r.Resource = "*"
			case iam.FormBucket:
				r.Resource = arn + t.bucket
			case iam.FormObject:
				r.Resource = arn + t.bucket + "/" + key
			case iam.FormSource:
				r.Resource = arn + t.source
			}
			list = append(list, r)
		}
		out.requests = append(out.requests, list)
	}
	return out
}

// changes tells whether the call is on the key that nobody reads.
func (t target) changes(c call) bool {
	return c.form == "object" && (strings.HasPrefix(c.name, "PutObject") && !strings.HasPrefix(c.name, "PutObjectTagging") && c.name != "PutObjectAcl" ||
		strings.HasPrefix(c.name, "Copy") || strings.HasPrefix(c.name, "Delete") && c.name != "DeleteObjectTagging" ||
		strings.Contains(c.name, "Multipart") || strings.Contains(c.name, "Part"))
}

// listing is a list with a prefix or a limit, which the calls of the table have not.
func listing(g *rand.Rand, bucket string) asked {
	in := &s3.ListObjectsV2Input{Bucket: aws.String(bucket)}
	r := iam.Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::" + bucket, Context: map[string][]string{"aws:SourceIp": {"127.0.0.1"},
		"aws:SecureTransport": {"false"}, "aws:CurrentTime": {time.Now().UTC().Format(time.RFC3339)}}}
	if g.IntN(4) > 0 {
		in.Prefix = aws.String(pick(g, "dir/", "DIR/", "other/", "o"))
		r.Context["s3:prefix"] = []string{*in.Prefix}
	}
	if g.IntN(2) == 0 {
		in.MaxKeys = aws.Int32(pick[int32](g, 5, 7, 20))
		r.Context["s3:max-keys"] = []string{fmt.Sprint(*in.MaxKeys)}
	}
	return asked{call: fmt.Sprintf("ListObjectsV2 of %s, %v", bucket, r.Context), requests: [][]iam.Request{{r}}, do: func(ctx context.Context, c *s3.Client) error {
		return as(c.ListObjectsV2(ctx, in))
	}}
}

// TestVerdicts: what the evaluator says of a session policy, in the server's dialect, is what the server does with the
// session. A seed that fails is in the message: -run with it alone is policies=1 and that seed.
func TestVerdicts(t *testing.T) {
	const each, workers = 12, 4
	for d, policies := range map[iam.Dialect]int{iam.DialectMinIO: 300, iam.DialectRadosGW: 120, iam.DialectVersityGW: 120} {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			w := worlds[d](t)
			w.fill(t)
			targets := []target{w.target(t)}
			targets = append(targets, target{bucket: bucketB, key: keyB, source: bucketA + "/" + keyA, version: targets[0].version, upload: targets[0].upload},
				target{bucket: bucketA, key: keyB, source: bucketB + "/" + keyA, version: targets[0].version, upload: targets[0].upload})
			models := map[string]iam.Call{}
			for _, c := range d.Calls() {
				models[c.Name] = c
			}
			var counts [2]atomic.Int64 // denied, allowed
			try := func(seed uint64) {
				g := rand.New(rand.NewPCG(seed, 27))
				p := randomPolicy(g, d)
				must(t, d.Models(p))
				e, err := iam.Compile(d, []iam.Policy{p}, nil, nil)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
				client, err := w.session(ctx, p)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
				for range each {
					c, tg := pick(g, calls[1:]...), pick(g, targets...) // not ListBuckets, which MinIO filters
					var q asked
					// Versions and uploads are the first target's alone.
					its := tg == targets[0] || !strings.Contains(c.name, "version") && !strings.Contains(c.name, "Part")
					if model, ok := models[c.name]; ok && its && g.IntN(4) > 0 {
						q = ask(c, model, tg)
					} else {
						q = listing(g, tg.bucket)
					}
					want, why := false, iam.Decision{}
					for _, way := range q.requests {
						all := true
						for _, r := range way {
							why, err = e.Allows(r)
							if err != nil {
								t.Errorf("seed %d: %v", seed, err)
								return
							}
							all = all && why.Verdict == iam.Allowed
						}
						want = want || all
					}
					err := q.do(ctx, client)
					if got := passed(t, err); got != want {
						text, _ := p.Marshal()
						t.Errorf("seed %d: %s says %v (passed %v), the evaluator %v\npolicy %s\ncall   %s\nchecks %+v", seed, w.tried, err, got, want, text, q.call, q.requests)
						return
					}
					if want {
						counts[1].Add(1)
					} else {
						counts[0].Add(1)
					}
				}
			}
			began := time.Now()
			var running sync.WaitGroup
			for n := range workers {
				running.Go(func() {
					for seed := n; seed < policies && !t.Failed(); seed += workers {
						try(uint64(seed))
					}
				})
			}
			running.Wait()
			t.Logf("seeds 0 to %d: %d calls denied, %d allowed, as %s did, in %v", policies-1, counts[0].Load(), counts[1].Load(), w.tried, time.Since(began).Round(time.Second))
			if least := int64(policies * each / 8); !t.Failed() && (counts[0].Load() < least || counts[1].Load() < least) {
				t.Errorf("fewer than %d of a kind", least)
			}
		})
	}
}
