package awssts_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// prefixPermissions are proven for one dialect; AWS where none is named.
func prefixPermissions(d ...iam.Dialect) scopes.Permissions {
	return scopes.Permissions{Dialect: append(d, iam.DialectAWS)[0], AWS: &iam.Policy{Version: iam.Version, Statements: []iam.Statement{{
		Effect: iam.Allow, Action: []string{"s3:GetObject", "s3:PutObject"}, Resource: []string{"arn:aws:s3:::prod/a/*"},
	}}}}
}

func s3Client(endpoint, id, secret, token string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
	})
}

func put(ctx context.Context, c *s3.Client, key string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("prod"), Key: aws.String(key), Body: strings.NewReader("x")})
	return err
}

func TestMinIO(t *testing.T) {
	ctx := t.Context()
	minio := servers.MinIO(t)
	endpoint := minio.Endpoint
	root := s3Client(endpoint, minio.AccessKey, minio.SecretKey, "")
	// MinIO says that it is ready before its users are loaded.
	minttest.Eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	desk := minttest.NewDesk(t)
	minter, err := awssts.New(ctx, awssts.Config{
		Role: "test", RoleARN: "arn:aws:iam::123456789012:role/test", Endpoint: endpoint, S3Endpoint: endpoint,
		Dialect: iam.DialectMinIO, Permits: desk.Verifier,
		Credentials: credentials.NewStaticCredentialsProvider(minio.AccessKey, minio.SecretKey, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(t *testing.T, life time.Duration) (mint.Credential, *s3.Client) {
		t.Helper()
		o := minttest.Order(prefixPermissions(iam.DialectMinIO), life)
		cred, err := minter.Mint(ctx, desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if !cred.ExpiresAt().Equal(o.NotAfter) {
			t.Errorf("expires %v, want %v", cred.ExpiresAt(), o.NotAfter)
		}
		sec := cred.Reveal().AWS
		if sec.AccessKeyID != cred.Handle().AccessKeyID || sec.Endpoint != endpoint {
			t.Error("handle or endpoint does not fit the secret")
		}
		return cred, s3Client(endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken)
	}

	t.Run("exactly the prefix", func(t *testing.T) {
		_, c := issue(t, 5*time.Minute)
		if err := put(ctx, c, "a/one"); err != nil {
			t.Fatalf("put in prefix: %v", err)
		}
		if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("a/one")}); err != nil {
			t.Fatalf("get in prefix: %v", err)
		}
		if err := put(ctx, c, "b/one"); err == nil {
			t.Error("put outside the prefix was allowed")
		}
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("prod"), Key: aws.String("a/one")}); err == nil {
			t.Error("delete was allowed")
		}
		if _, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("prod")}); err == nil {
			t.Error("list was allowed")
		}
	})
	t.Run("deadline under 900 s", func(t *testing.T) {
		cred, c := issue(t, 3*time.Second)
		if err := put(ctx, c, "a/two"); err != nil {
			t.Fatalf("put before the deadline: %v", err)
		}
		minttest.Eventually(t, 6*time.Second, "the session is dead", func() bool { return put(ctx, c, "a/two") != nil })
		if late := time.Since(cred.ExpiresAt()); late > time.Second {
			t.Errorf("died %v after its deadline", late)
		}
	})
	t.Run("the lease ends where a header beats the deadline", func(t *testing.T) {
		cred, c := issue(t, 2*time.Second)
		minttest.Eventually(t, 6*time.Second, "the deadline holds who is honest", func() bool { return put(ctx, c, "a/two") != nil })
		liar := s3.New(c.Options(), func(o *s3.Options) {
			o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue("CurrentTime", "2019-01-01T00:00:00Z"))
		})
		if err := put(ctx, liar, "a/two"); err != nil {
			t.Errorf("MinIO does not believe the header any more, and the dialect still says so: %v", err)
		}
		if end := cred.Handle().Ends().Sub(cred.ExpiresAt()); end < 14*time.Minute || end > 15*time.Minute {
			t.Errorf("the handle says that it ends %v after the deadline; STS makes no session under 15 minutes", end)
		}
		if outcome, err := minter.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.RevokedUpstream {
			t.Fatalf("revoke: %v %v", outcome, err)
		}
		if put(ctx, liar, "a/two") == nil {
			t.Error("a revoked session works with a header")
		}
	})
	t.Run("source networks cannot be kept", func(t *testing.T) {
		o := minttest.Order(prefixPermissions(iam.DialectMinIO), 5*time.Minute)
		o.SourceCIDRs = []string{"127.0.0.0/8"}
		if _, err := minter.Mint(ctx, desk.Permit(o)); !errors.Is(err, iam.ErrDialect) || !errors.Is(err, mint.ErrPermit) {
			t.Errorf("%v", err)
		}
	})
	t.Run("revoke ends one lease at once", func(t *testing.T) {
		cred, c := issue(t, 5*time.Minute)
		_, other := issue(t, 5*time.Minute)
		if err := put(ctx, c, "a/three"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeating is safe
			outcome, err := minter.Revoke(ctx, cred.Handle())
			if err != nil || outcome != mint.RevokedUpstream {
				t.Fatalf("revoke: %v %v", outcome, err)
			}
		}
		if err := put(ctx, c, "a/three"); err == nil {
			t.Error("a revoked session still works")
		}
		if err := put(ctx, other, "a/three"); err != nil {
			t.Errorf("another session died too: %v", err)
		}
	})
	t.Run("an order's handle revokes what was never answered", func(t *testing.T) {
		o := minttest.Order(prefixPermissions(iam.DialectMinIO), 5*time.Minute)
		cred, err := minter.Mint(ctx, desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := minter.Revoke(ctx, o.Handle(mint.ProviderAWS)); err != nil || outcome != mint.RevokedUpstream {
			t.Fatalf("revoke: %v %v", outcome, err)
		}
		sec := cred.Reveal().AWS
		if err := put(ctx, s3Client(endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken), "a/four"); err == nil {
			t.Error("a revoked session still works")
		}
	})
}
