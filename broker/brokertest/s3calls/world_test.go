package s3calls_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/scopes/iam"
)

// world is one server with two buckets that keep versions.
type world struct {
	dialect iam.Dialect
	tried   string // the server's version
	root    *s3.Client
	connect func(id, secret, token string) *s3.Client
	sts     *sts.Client
	roleARN string
	// token, where it is not nil, is what sessions are made by instead of a key, of the role that nextRole says.
	token    func(ctx context.Context, audience string) (string, error)
	nextRole func() string
	sessions atomic.Uint64
	made     sync.Map // policy's text -> *s3.Client, or the error of the server that refused it
}

// manyRoles share the sessions of a run, since versitygw has at most 1,000 of a role.
const manyRoles = 16

// The names of the world. Each key has a version; what calls delete, nobody reads.
const (
	bucketA, bucketB = "calls-a", "calls-b"
	keyA, keyB       = "dir/key", "other/key"
)

var worlds = map[iam.Dialect]func(*testing.T) *world{ // read-only
	iam.DialectMinIO: func(t *testing.T) *world {
		s := servers.MinIO(t)
		return newWorld(iam.DialectMinIO, s.Version(t), s.Endpoint, s.Endpoint, s.AccessKey, s.SecretKey)
	},
	iam.DialectRadosGW: func(t *testing.T) *world {
		s := servers.RadosGW(t)
		w := newWorld(iam.DialectRadosGW, s.Version(t), s.Endpoint, s.Endpoint, s.AccessKey, s.SecretKey)
		roles := awsiam.New(awsiam.Options{BaseEndpoint: aws.String(s.Endpoint), Region: "us-east-1", RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""), APIOptions: []func(*middleware.Stack) error{plain}})
		role, err := roles.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("test"), AssumeRolePolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + s.UserARN + `"]},"Action":["sts:AssumeRole"]}]}`)})
		must(t, err)
		_, err = roles.PutRolePolicy(t.Context(), &awsiam.PutRolePolicyInput{RoleName: aws.String("test"), PolicyName: aws.String("all"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)})
		must(t, err)
		w.roleARN = aws.ToString(role.Role.Arn)
		return w
	},
	iam.DialectVersityGW: func(t *testing.T) *world {
		var more []string
		for i := range manyRoles {
			more = append(more, fmt.Sprintf("calls-%d", i))
		}
		s := servers.VersityGW(t, more...)
		c := s.Operator(t)
		w := newWorld(iam.DialectVersityGW, s.Version(t), s.Endpoint, s.STSEndpoint, c.AccessKeyID, c.SecretAccessKey)
		w.root, w.token = w.connect(c.AccessKeyID, c.SecretAccessKey, c.SessionToken), s.Token
		w.nextRole = func() string { return s.RoleARN(more[w.sessions.Add(1)%manyRoles]) }
		return w
	},
}

func newWorld(d iam.Dialect, tried, endpoint, stsEndpoint, id, secret string) *world {
	connect := func(id, secret, token string) *s3.Client {
		return s3.New(s3.Options{
			BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(id, secret, token), RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		})
	}
	return &world{dialect: d, tried: tried, root: connect(id, secret, ""), connect: connect, roleARN: "arn:aws:iam::000000000000:role/test",
		sts: sts.New(sts.Options{BaseEndpoint: aws.String(stsEndpoint), Region: "us-east-1", RetryMaxAttempts: 5,
			Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})}
}

// plain sends a form as radosgw's IAM takes it.
func plain(s *middleware.Stack) error {
	return s.Build.Add(middleware.BuildMiddlewareFunc("plainForm", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return next.HandleBuild(ctx, in)
	}), middleware.After)
}

// fill makes the buckets and what is in them.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, b := range []string{bucketA, bucketB} {
		eventually(t, func() error {
			_, err := w.root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(b)})
			return err
		})
		_, err := w.root.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String(b),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		must(t, err)
		for _, k := range []string{keyA, keyB} {
			_, err := w.root.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(b), Key: aws.String(k), Body: strings.NewReader("x")})
			must(t, err)
		}
	}
}

// session is a client whose session has the policy. The error is the server's refusal of the policy.
func (w *world) session(ctx context.Context, p iam.Policy) (*s3.Client, error) {
	text, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	if made, ok := w.made.Load(string(text)); ok {
		if c, ok := made.(*s3.Client); ok {
			return c, nil
		}
		return nil, made.(error)
	}
	c, err := w.assume(ctx, string(text))
	var refused smithy.APIError
	if errors.As(err, &refused) {
		w.made.Store(string(text), err)
	} else if err == nil {
		w.made.Store(string(text), c)
	}
	return c, err
}

func (w *world) assume(ctx context.Context, text string) (*s3.Client, error) {
	c, err := w.credentials(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return w.connect(aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken)), nil
}

func (w *world) credentials(ctx context.Context, text string) (*ststypes.Credentials, error) {
	if w.token == nil {
		out, err := w.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(w.roleARN), RoleSessionName: aws.String("calls"), Policy: aws.String(text)})
		if err != nil {
			return nil, err
		}
		return out.Credentials, nil
	}
	token, err := w.token(ctx, servers.TargetAudience)
	if err != nil {
		return nil, err
	}
	out, err := w.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(w.nextRole()), RoleSessionName: aws.String("calls"), WebIdentityToken: aws.String(token), Policy: aws.String(text), DurationSeconds: aws.Int32(900),
	})
	if err != nil {
		return nil, err
	}
	return out.Credentials, nil
}

// passed tells whether a call was let through: whatever became of it then, it was not denied. A call without an answer is
// neither, and fails the test.
func passed(t *testing.T, err error) bool {
	t.Helper()
	var denied denial
	var api smithy.APIError
	var http interface{ HTTPStatusCode() int }
	switch {
	case errors.As(err, &denied):
		return false
	case errors.As(err, &http) && http.HTTPStatusCode() == 503:
		t.Errorf("the server was too busy to say: %v", err)
		return false
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "Forbidden" && api.ErrorCode() != "UnknownError":
		return api.ErrorCode() != "AccessDenied"
	case errors.As(err, &http): // HEAD has no code
		return http.HTTPStatusCode() != 403
	case err != nil:
		t.Errorf("the server gave no answer: %v", err)
		return false
	}
	return true
}

// denial is one key's of a call on several.
type denial struct{}

func (denial) Error() string { return "AccessDenied" }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(30 * time.Second); ; <-tick.C {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}
