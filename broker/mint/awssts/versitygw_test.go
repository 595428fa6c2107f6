package awssts_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes/iam"
)

// TestVersityGW mints and revokes as dev mode does: by the broker's JWT-SVID, with no AWS key anywhere.
func TestVersityGW(t *testing.T) {
	ctx := t.Context()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOFNOBODY") // what stands in the environment is not looked at
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
	gw := servers.VersityGW(t)
	op := gw.Operator(t)
	root := s3Client(gw.Endpoint, op.AccessKeyID, op.SecretAccessKey, op.SessionToken)
	if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("prod")}); err != nil {
		t.Fatal(err)
	}
	desk := minttest.NewDesk(t)
	broker := func(change ...func(*awssts.Config)) *awssts.Minter {
		return newMinter(t, desk, gw.STSEndpoint, func(c *awssts.Config) {
			c.Dialect, c.Credentials, c.Timeout, c.S3Endpoint = iam.DialectVersityGW, nil, 0, gw.Endpoint
			c.RoleARN, c.WebIdentity = gw.RoleARN(servers.RoleAgents), &awssts.WebIdentity{Audience: servers.TargetAudience, Fetch: gw.Token}
			c.RoleDeny = &awssts.RoleDeny{Endpoint: gw.IAMEndpoint, AssumeRoleARN: gw.RoleARN(servers.RoleRevoker)}
			for _, fn := range change {
				fn(c)
			}
		})
	}
	m := broker()
	order := func(life time.Duration) mint.Order {
		return minttest.Order(prefixPermissions(iam.DialectVersityGW), life)
	}
	issue := func(t *testing.T, o mint.Order) (mint.Credential, *s3.Client) {
		t.Helper()
		cred, err := m.Mint(ctx, desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		if !cred.ExpiresAt().Equal(o.NotAfter) {
			t.Errorf("expires %v, want %v", cred.ExpiresAt(), o.NotAfter)
		}
		sec := cred.Reveal().AWS
		return cred, s3Client(gw.Endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken)
	}
	refused := func(t *testing.T, what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: it still works", what)
		} else if status := statusOf(err); status != http.StatusForbidden {
			t.Errorf("%s: status %d, %v", what, status, err)
		}
	}

	t.Run("exactly the prefix", func(t *testing.T) {
		_, c := issue(t, order(5*time.Minute))
		if err := put(ctx, c, "a/one"); err != nil {
			t.Fatalf("put in prefix: %v", err)
		}
		if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("prod"), Key: aws.String("a/one")}); err != nil {
			t.Fatalf("get in prefix: %v", err)
		}
		refused(t, "outside the prefix", put(ctx, c, "b/one"))
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("prod"), Key: aws.String("a/one")})
		refused(t, "delete", err)
		_, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("prod")})
		refused(t, "list", err)
	})
	t.Run("deadline under 900 s, which no header beats", func(t *testing.T) {
		cred, c := issue(t, order(3*time.Second))
		if err := put(ctx, c, "a/two"); err != nil {
			t.Fatalf("put before the deadline: %v", err)
		}
		minttest.Eventually(t, 8*time.Second, "the session is dead", func() bool { return put(ctx, c, "a/two") != nil })
		// Its clock has whole seconds, and a second is over when the next begins.
		if late := time.Since(cred.ExpiresAt()); late > 2*time.Second {
			t.Errorf("died %v after its deadline", late)
		}
		for _, header := range []string{"CurrentTime", "Aws-Currenttime", "X-Amz-CurrentTime"} {
			liar := s3.New(c.Options(), func(o *s3.Options) {
				o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue(header, "2019-01-01T00:00:00Z"))
			})
			refused(t, "with a header "+header, put(ctx, liar, "a/two"))
		}
		if end := cred.Handle().Ends(); !end.Equal(cred.ExpiresAt()) {
			t.Errorf("the handle ends %v, the credential %v", end, cred.ExpiresAt())
		}
	})
	t.Run("source networks are kept", func(t *testing.T) {
		for cidr, works := range map[string]bool{"127.0.0.0/8": true, "192.0.2.0/24": false} {
			o := order(5 * time.Minute)
			o.SourceCIDRs = []string{cidr}
			_, c := issue(t, o)
			if err := put(ctx, c, "a/three"); (err == nil) != works {
				t.Errorf("from %s: %v", cidr, err)
			}
		}
	})
	t.Run("revoke ends one session at once", func(t *testing.T) {
		lost := order(5 * time.Minute)
		cred, c := issue(t, order(5*time.Minute))
		_, other := issue(t, order(5*time.Minute))
		_, orphan := issue(t, lost)
		if err := put(ctx, c, "a/four"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeating is safe
			mustDeny(t, m, cred.Handle())
		}
		refused(t, "a revoked session", put(ctx, c, "a/four"))
		mustDeny(t, m, lost.Handle(mint.ProviderAWS)) // all that is left of a minting that was never answered
		refused(t, "a revoked orphan", put(ctx, orphan, "a/four"))
		mustDeny(t, broker(), cred.Handle()) // by a broker that started anew
		if err := put(ctx, other, "a/four"); err != nil {
			t.Errorf("another session of the role died too: %v", err)
		}
	})
	t.Run("without the revoker's role there is the deadline", func(t *testing.T) {
		cred, c := issue(t, order(5*time.Minute))
		plain := broker(func(c *awssts.Config) { c.RoleDeny = nil })
		if outcome, err := plain.Revoke(ctx, cred.Handle()); err != nil || outcome != mint.DeadlineOnly {
			t.Errorf("revoke: %v %v", outcome, err)
		}
		if err := put(ctx, c, "a/five"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a role that does not trust the broker", func(t *testing.T) {
		foreign := broker(func(c *awssts.Config) { c.RoleARN, c.RoleDeny = gw.RoleARN(servers.RoleOperator), nil })
		_, err := foreign.Mint(ctx, desk.Permit(order(5*time.Minute)))
		check(t, err, mint.ErrRefused, false)
	})
}
