package s3calls_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/can"
	"github.com/valetkey/valetkey/scopes/iam"
)

// bound is the policy as it would be minted.
func bound(t *testing.T, d iam.Dialect, p iam.Policy) iam.Policy {
	t.Helper()
	out, err := iam.Bind(p, iam.Limits{NotAfter: time.Now().Add(time.Hour), Dialect: d})
	must(t, err)
	return out
}

// F9: a bucket's policy that names the session, or everybody, gives it nothing beside the pairs that were granted. On
// radosgw it did, where the session's own policy did not deny in so many words.
func TestResourcePoliciesGiveNothingBesideThePairs(t *testing.T) {
	granted := policy(allow("s3:GetObject", "arn:aws:s3:::"+bucketA+"/*"), allow("s3:DeleteObject", "arn:aws:s3:::"+bucketB+"/*"))
	for d, escapes := range map[iam.Dialect]bool{iam.DialectMinIO: false, iam.DialectRadosGW: true, iam.DialectVersityGW: false} {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			w := worlds[d](t)
			w.fill(t)
			principal := map[iam.Dialect]string{iam.DialectMinIO: `{"AWS":["*"]}`, iam.DialectRadosGW: `{"AWS":"arn:aws:sts:::assumed-role/test/calls"}`, iam.DialectVersityGW: `"*"`}[d]
			_, err := w.root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(bucketB), Policy: aws.String(fmt.Sprintf(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":%s,"Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::%s/*"]}]}`, principal, bucketB))})
			must(t, err)
			get := func(c *s3.Client) error {
				return read(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketB), Key: aws.String(keyB)}))
			}
			plain, err := w.session(ctx, granted)
			must(t, err)
			if got := passed(t, get(plain)); got != escapes {
				t.Errorf("with an implicit deny alone: passed %v, want %v", got, escapes)
			}
			minted, err := w.session(ctx, bound(t, d, granted))
			must(t, err)
			if passed(t, get(minted)) {
				t.Error("reading where only deleting was granted")
			}
			if err := as(minted.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucketB), Key: aws.String("dir/key.gone")})); passed(t, err) {
				t.Error("writing, which was granted nowhere")
			}
			if err := as(minted.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucketB), Key: aws.String("x.gone")})); !passed(t, err) {
				t.Errorf("what was granted: %v", err)
			}
		})
	}
}

// F2 and F8: what can says of a minted policy is what MinIO does with it, bucket calls, old versions and tags among it.
func TestCanSaysWhatTheServerDoes(t *testing.T) {
	p := policy(allow("s3:GetObject", "arn:aws:s3:::"+bucketA+"/dir/*"), allow("s3:PutObject", "arn:aws:s3:::"+bucketA+"/dir/*"), allow("s3:ListBucket", "arn:aws:s3:::"+bucketA))
	for d := range worlds {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			w := worlds[d](t)
			w.fill(t)
			tg := w.target(t)
			client, err := w.session(ctx, bound(t, d, p))
			must(t, err)
			said := map[string]iam.Answer{}
			done := map[string]bool{} // by what AWS calls it
			for _, c := range calls {
				if c.form == "none" || c.name == "CopyObject" {
					continue
				}
				resource := "arn:aws:s3:::" + tg.bucket
				if c.form == "object" {
					resource += "/" + tg.key
				}
				a, err := can.Ask(scopes.Permissions{AWS: &p, Dialect: d}, can.Question{Action: c.action, Resource: resource, Now: time.Now(), TTL: time.Hour})
				must(t, err)
				said[c.action] = a.Answer
				done[c.action] = done[c.action] || passed(t, c.do(ctx, client, tg))
			}
			for action, answer := range said {
				if answer != iam.Unknown && (answer == iam.Yes) != done[action] {
					t.Errorf("can says %s to %s, and %s lets it through: %v", answer, action, w.tried, done[action])
				}
			}
			if said["s3:PutObject"] != iam.Yes || said["s3:DeleteBucket"] != iam.No {
				t.Errorf("%v", said)
			}
		})
	}
}

// MinIO takes the values of condition keys from headers of their names, so that no condition holds a caller there: not
// the deadline, a prefix or a network. This is a fault of the server's; it is shown so that nobody relies on them, and
// that can and the dialect may say otherwise once it fails.
func TestMinIOBelievesHeaders(t *testing.T) {
	if !iam.DialectMinIO.Believes() || iam.DialectRadosGW.Believes() || iam.DialectVersityGW.Believes() {
		t.Error("the dialects say otherwise")
	}
	late := deny("s3:*")
	late.Condition = map[string]map[string][]string{"DateGreaterThan": {"aws:CurrentTime": {"2020-01-01T00:00:00Z"}}}
	far := deny("s3:*")
	far.Condition = map[string]map[string][]string{"NotIpAddress": {"aws:SourceIp": {"192.0.2.0/24"}}}
	for d := range worlds {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			w := worlds[d](t)
			w.fill(t)
			for name, x := range map[string]struct {
				deny          iam.Statement
				header, value string
			}{"deadline": {late, "CurrentTime", "2019-01-01T00:00:00Z"}, "network": {far, "SourceIp", "192.0.2.1"}} {
				c, err := w.session(ctx, policy(allow("s3:*", "*"), x.deny))
				must(t, err)
				get := func(opts ...func(*s3.Options)) error {
					return read(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketA), Key: aws.String(keyA)}, opts...))
				}
				if passed(t, get()) {
					t.Errorf("%s: it is not kept at all", name)
				}
				if got := passed(t, get(header(x.header, x.value))); got != d.Believes() {
					t.Errorf("%s: with a header of the caller's it passed: %v", name, got)
				}
			}
		})
	}
}

// header adds a header to a call, which is then signed.
func header(name, value string) func(*s3.Options) {
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			return s.Build.Add(middleware.BuildMiddlewareFunc("header", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
				if r, ok := in.Request.(*smithyhttp.Request); ok {
					r.Header.Set(name, value)
				}
				return next.HandleBuild(ctx, in)
			}), middleware.After)
		})
	}
}
