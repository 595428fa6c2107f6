package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

var (
	verdictBuckets = []string{"prod", "prod-2"}
	// "valetkey-test-root" is what MinIO has for ${aws:username}.
	verdictKeys = []string{"a/one.csv", "a/b/two.csv", "ab/three.csv", "A/one.csv", "root.txt", "a/x:y", "valetkey-test-root/k"}
)

func pick[T any](g *rand.Rand, from ...T) T { return from[g.IntN(len(from))] }

// randomPolicy is what a scope could compile to for an s3-compatible target, and some explicit Denies.
func randomPolicy(g *rand.Rand) iam.Policy {
	var p iam.Policy
	for i := range 1 + g.IntN(4) {
		s := iam.Statement{Effect: iam.Allow}
		if i > 0 && g.IntN(3) == 0 {
			s.Effect = iam.Deny
		}
		bucket := "arn:aws:s3:::" + pick(g, "prod", "prod", "prod-2", "prod*", "*")
		condition := map[string]map[string][]string{}
		if g.IntN(3) == 0 {
			s.Action, s.Resource = []string{pick(g, "s3:ListBucket", "s3:ListBucket", "s3:List*")}, []string{bucket}
			if s.Action[0] == "s3:ListBucket" && g.IntN(2) == 0 {
				key, values := "s3:prefix", []string{pick(g, "a/", "a/*", "*", "${aws:username}/*", "?/"), pick(g, "A/", "ab*")}
				op := pick(g, "StringEquals", "StringLike", "StringNotEquals", "StringNotLike", "ForAllValues:StringLike",
					"ForAnyValue:StringLike", "StringEqualsIgnoreCase")
				switch g.IntN(6) {
				case 0:
					op, values = "Null", []string{pick(g, "true", "false")}
				case 1:
					op, key, values = pick(g, "NumericLessThanEquals", "NumericGreaterThan", "NumericEquals"), "s3:max-keys", []string{pick(g, "5", "10")}
				}
				condition[op] = map[string][]string{key: values}
			}
		} else {
			for range 1 + g.IntN(2) {
				s.Action = append(s.Action, pick(g, "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:*Object", "s3:Get*", "s3:GetObjectTagging", "s3:*"))
				s.Resource = append(s.Resource, strings.Replace(bucket, "prod*", "p*od", 1)+"/"+pick(g, "*", "a/*", "a/*.csv", "?/one.csv", "a*", "*/two.csv", "a/one.csv", "root.txt", "a/x:?", "${aws:username}/*"))
			}
		}
		switch g.IntN(6) {
		case 0:
			condition[pick(g, "IpAddress", "NotIpAddress")] = map[string][]string{"aws:SourceIp": {pick(g, "127.0.0.0/8", "192.0.2.0/24", "127.0.0.1/32")}}
		case 1:
			condition["Bool"] = map[string][]string{"aws:SecureTransport": {pick(g, "true", "false", "false")}}
		case 2:
			condition[pick(g, "DateLessThan", "DateGreaterThan")] = map[string][]string{"aws:CurrentTime": {pick(g, "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z")}}
		}
		if len(condition) > 0 {
			s.Condition = condition
		}
		p.Statements = append(p.Statements, s)
	}
	return p
}

// call is one S3 call: what it is to IAM, and how to make it.
type call struct {
	request iam.Request
	do      func(context.Context, *s3.Client) error
}

// calls are inside and outside of most policies, in every action that randomPolicy has.
func calls(g *rand.Rand, n int) []call {
	out := make([]call, 0, n)
	for range n {
		bucket, key := pick(g, verdictBuckets...), pick(g, verdictKeys...)
		b, k := aws.String(bucket), aws.String(key)
		c := call{request: iam.Request{Resource: "arn:aws:s3:::" + bucket + "/" + key, Context: map[string][]string{
			"aws:SourceIp": {"127.0.0.1"}, "aws:SecureTransport": {"false"}, "aws:username": {"valetkey-test-root"},
			"aws:CurrentTime": {time.Now().UTC().Format(time.RFC3339)},
		}}}
		switch g.IntN(6) {
		case 0:
			c.request.Action = "s3:GetObject"
			c.do = func(ctx context.Context, cl *s3.Client) error {
				o, err := cl.GetObject(ctx, &s3.GetObjectInput{Bucket: b, Key: k})
				if err == nil {
					err = o.Body.Close()
				}
				return err
			}
		case 1:
			c.request.Action = "s3:PutObject"
			c.do = func(ctx context.Context, cl *s3.Client) error {
				_, err := cl.PutObject(ctx, &s3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x")})
				return err
			}
		case 2:
			// Nobody reads these, so that nobody misses them.
			gone := key + ".gone"
			c.request.Action, c.request.Resource = "s3:DeleteObject", c.request.Resource+".gone"
			c.do = func(ctx context.Context, cl *s3.Client) error {
				_, err := cl.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b, Key: aws.String(gone)})
				return err
			}
		case 3:
			c.request.Action = "s3:GetObjectTagging"
			c.do = func(ctx context.Context, cl *s3.Client) error {
				_, err := cl.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: b, Key: k})
				return err
			}
		default:
			c.request.Action, c.request.Resource = "s3:ListBucket", "arn:aws:s3:::"+bucket
			in := &s3.ListObjectsV2Input{Bucket: b}
			if g.IntN(4) > 0 {
				in.Prefix = aws.String(pick(g, "a/", "A/", "ab", "a/b/", "valetkey-test-root/"))
				c.request.Context["s3:prefix"] = []string{*in.Prefix}
			}
			if g.IntN(2) == 0 {
				in.MaxKeys = aws.Int32(pick[int32](g, 5, 7, 20))
				c.request.Context["s3:max-keys"] = []string{fmt.Sprint(*in.MaxKeys)}
			}
			c.do = func(ctx context.Context, cl *s3.Client) error {
				_, err := cl.ListObjectsV2(ctx, in)
				return err
			}
		}
		out = append(out, c)
	}
	return out
}

// What the evaluator says of a session policy is what MinIO does with the session.
//
// One known difference is left out and counted: to MinIO a call on a bucket is one on "bucket/", unless a pattern is
// "bucket" to the letter. So "bucket/*" takes it too, and "b?cket" does not, in an Allow and in a Deny; AWS keeps buckets
// and objects apart (https://docs.aws.amazon.com/AmazonS3/latest/userguide/security_iam_service-with-iam.html). And it
// refuses IfExists.
func TestVerdictsAreMinIOs(t *testing.T) {
	const policies, each, workers = 300, 14, 6
	ctx := t.Context()
	minio := servers.MinIO(t)
	root := s3Client(minio.Endpoint, minio.AccessKey, minio.SecretKey, "")
	for _, b := range verdictBuckets {
		minttest.Eventually(t, 30*time.Second, "MinIO takes signed calls", func() bool {
			_, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(b)})
			return err == nil
		})
		for _, k := range verdictKeys {
			if _, err := root.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(b), Key: aws.String(k), Body: strings.NewReader("x")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	desk := minttest.NewDesk(t)
	minter, err := awssts.New(ctx, awssts.Config{
		Role: "test", RoleARN: "arn:aws:iam::123456789012:role/test", Endpoint: minio.Endpoint, S3Endpoint: minio.Endpoint,
		Dialect: iam.DialectS3, Permits: desk.Verifier,
		Credentials: credentials.NewStaticCredentialsProvider(minio.AccessKey, minio.SecretKey, ""),
	})
	if err != nil {
		t.Fatal(err)
	}

	var counts [3]atomic.Int64 // by verdict
	var apart atomic.Int64
	try := func(t *testing.T, g *rand.Rand) {
		p := randomPolicy(g)
		o := minttest.Order(scopes.Permissions{AWS: &p}, 5*time.Minute)
		bound, err := iam.Bind(p, iam.Limits{NotAfter: o.NotAfter, Dialect: iam.DialectS3})
		if err != nil {
			t.Errorf("%+v: %v", p, err)
			return
		}
		text, err := bound.Marshal()
		if err != nil {
			t.Error(err)
			return
		}
		evaluator, err := iam.Compile([]iam.Policy{everything()}, &bound, nil)
		if err != nil {
			t.Error(err)
			return
		}
		cred, err := minter.Mint(ctx, desk.Permit(o))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		sec := cred.Reveal().AWS
		client := s3Client(minio.Endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken)
		for _, c := range calls(g, each) {
			want, err := evaluator.Allows(c.request)
			if err != nil {
				t.Error(err)
				return
			}
			if c.request.Action == "s3:ListBucket" {
				slashed := c.request
				slashed.Resource += "/"
				if other, err := evaluator.Allows(slashed); err != nil || other.Verdict != want.Verdict {
					apart.Add(1)
					continue
				}
			}
			err = c.do(ctx, client)
			var refused smithy.APIError
			if err != nil && (!errors.As(err, &refused) || refused.ErrorCode() != "AccessDenied") {
				t.Errorf("%s on %s: %v", c.request.Action, c.request.Resource, err)
				continue
			}
			counts[want.Verdict].Add(1)
			if (err == nil) != (want.Verdict == iam.Allowed) {
				t.Errorf("MinIO says %v, the evaluator %s\npolicy  %s\nrequest %+v", err, want.Verdict, text, c.request)
			}
		}
	}

	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for n := w; n < policies && !t.Failed(); n += workers {
				try(t, rand.New(rand.NewPCG(uint64(n), 26)))
			}
		})
	}
	running.Wait()
	t.Logf("%d implicit denies, %d allowed, %d explicit denies, %d left out", counts[iam.ImplicitDeny].Load(),
		counts[iam.Allowed].Load(), counts[iam.ExplicitDeny].Load(), apart.Load())
	for _, v := range []iam.Verdict{iam.ImplicitDeny, iam.Allowed, iam.ExplicitDeny} {
		if n := counts[v].Load(); !t.Failed() && n < policies*each/20 {
			t.Errorf("only %d calls are %s", n, v)
		}
	}
	if n := apart.Load(); n > policies*each/5 {
		t.Errorf("%d calls were left out", n)
	}
}

// everything is what MinIO's root user may do, and so what the session policy alone narrows.
func everything() iam.Policy {
	return iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
}
