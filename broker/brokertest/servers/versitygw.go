package servers

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
)

// The roles that each VersityGW has beside those that are asked for. The broker takes on the first two: the agents' role may
// do anything, and the revoker's writes its policies. The operator may do anything too.
const (
	RoleAgents   = "agents"
	RoleRevoker  = "revoker"
	RoleOperator = "operator"
)

// TargetAudience is of the JWT-SVIDs that VersityGW's STS takes.
const TargetAudience = "sts.amazonaws.com"

// VersityGWServer is a running valetkey-target, as dev mode has it: Versity's S3 Gateway with its own IAM, and an STS that
// takes JWT-SVIDs of an authority of the test's own.
type VersityGWServer struct {
	Endpoint    string // http://127.0.0.1:port, for S3
	STSEndpoint string
	IAMEndpoint string

	broker, operator *devauthority.Source
}

// RoleARN is a role's.
func (VersityGWServer) RoleARN(role string) string { return "arn:aws:iam::000000000000:role/" + role }

// Token is a fresh JWT-SVID of the broker, spiffe://example.org/valetkeyd.
func (s VersityGWServer) Token(ctx context.Context, audience string) (string, error) {
	return token(ctx, s.broker, audience)
}

func token(ctx context.Context, src *devauthority.Source, audience string) (string, error) {
	svid, err := src.FetchJWTSVID(ctx, audience)
	if err != nil {
		return "", err
	}
	return svid.Marshal(), nil
}

// Operator is an hour of the operator's role.
func (s VersityGWServer) Operator(t TB) aws.Credentials {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c, err := s.operators(ctx)
	if err != nil {
		t.Fatalf("signing the operator in: %v", err)
	}
	return c
}

func (s VersityGWServer) operators(ctx context.Context) (aws.Credentials, error) {
	svid, err := token(ctx, s.operator, TargetAudience)
	if err != nil {
		return aws.Credentials{}, err
	}
	out, err := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.STSEndpoint), RetryMaxAttempts: 1}).AssumeRoleWithWebIdentity(ctx,
		&sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(s.RoleARN(RoleOperator)), RoleSessionName: aws.String("operator"), WebIdentityToken: aws.String(svid)})
	if err != nil {
		return aws.Credentials{}, err
	}
	c := out.Credentials
	return aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey), SessionToken: aws.ToString(c.SessionToken),
	}, nil
}

// VersityGW starts a gateway that lives until t's clean-up. more are roles that may do anything in S3, since one role has at
// most 1,000 sessions at a time.
func VersityGW(t TB, more ...string) VersityGWServer {
	t.Helper()
	// The path of its Unix socket has to be short, which a test's folder is not.
	dir, err := os.MkdirTemp("", "vgw")
	if err != nil {
		t.Fatalf("starting versitygw: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("%v", err)
		}
	})
	const issuer = "https://test.invalid"
	authority, err := devauthority.New(devauthority.Config{TrustDomain: "example.org", JWTIssuer: issuer})
	if err != nil {
		t.Fatalf("starting versitygw: %v", err)
	}
	keys, err := authority.JWTBundle().Marshal()
	if err != nil {
		t.Fatalf("starting versitygw: %v", err)
	}
	broker, operator := spiffeid.RequireFromString("spiffe://example.org/valetkeyd"), spiffeid.RequireFromString("spiffe://example.org/operator")
	s := VersityGWServer{broker: authority.Source(broker), operator: authority.Source(operator)}
	ports := launch(t, "valetkey-target", dir, 3, func(ports []int) launchPlan {
		at := s
		at.Endpoint, at.STSEndpoint, at.IAMEndpoint = "http://"+loopback(ports[0]), "http://"+loopback(ports[1]), "http://"+loopback(ports[2])
		config, err := json.Marshal(map[string]any{
			"Dir": filepath.Join(dir, fmt.Sprint(ports[0])), // a second try begins anew
			"S3":  loopback(ports[0]), "STS": loopback(ports[1]), "IAM": loopback(ports[2]),
			"TrustDomain": "example.org", "Bundle": json.RawMessage(keys), "Issuer": issuer, "Audience": TargetAudience,
			"Roles": targetRoles(s, broker.String(), operator.String(), more),
		})
		if err != nil {
			t.Fatalf("starting versitygw: %v", err)
		}
		return launchPlan{in: append(config, '\n'), ready: at.ready}
	})
	s.Endpoint, s.STSEndpoint, s.IAMEndpoint = "http://"+loopback(ports[0]), "http://"+loopback(ports[1]), "http://"+loopback(ports[2])
	return s
}

func targetRoles(s VersityGWServer, broker, operator string, more []string) (out []map[string]any) {
	role := func(name, subject string, actions, resource any) {
		out = append(out, map[string]any{"Name": name, "Subjects": []string{subject}, "Policies": map[string]any{
			"all": map[string]any{"Version": "2012-10-17", "Statement": map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}},
		}})
	}
	for _, name := range append([]string{RoleAgents}, more...) {
		role(name, broker, "s3:*", "*")
	}
	role(RoleRevoker, broker, []string{"iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"}, s.RoleARN(RoleAgents))
	role(RoleOperator, operator, []string{"s3:*", "iam:*"}, "*")
	return out
}

// ready asks all but IAM, which is there before them.
func (s VersityGWServer) ready(ctx context.Context) error {
	c, err := s.operators(ctx)
	if err != nil {
		return fmt.Errorf("asking %s for a session: %w", s.STSEndpoint, err)
	}
	client := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.Endpoint), Credentials: credentials.StaticCredentialsProvider{Value: c}, RetryMaxAttempts: 1, UsePathStyle: true})
	if _, err := client.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil {
		return fmt.Errorf("asking %s for its buckets: %w", s.Endpoint, err)
	}
	return nil
}

// Version is the server's name and version.
func (MinIOServer) Version(t TB) string {
	return "MinIO " + moduleVersion(t, "minio", "github.com/minio/minio")
}

// Version is the server's name and version.
func (VersityGWServer) Version(t TB) string {
	return "versitygw " + moduleVersion(t, "valetkey-target", "github.com/versity/versitygw")
}

// moduleVersion is the version of a module in a binary that was built.
func moduleVersion(t TB, name, module string) string {
	t.Helper()
	binary, err := Binary(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatalf("reading the version of %s: %v", name, err)
	}
	for _, d := range append(info.Deps, &info.Main) {
		if d.Path == module {
			return d.Version
		}
	}
	t.Fatalf("reading the version of %s: it has no %s", name, module)
	return ""
}

// Version is the server's name and version.
func (RadosGWServer) Version(t TB) string {
	t.Helper()
	binary, err := Binary("radosgw")
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	words := strings.Fields(string(out)) // "ceph version 16.2.15 (...) pacific (stable)"
	if err != nil || len(words) < 3 {
		t.Fatalf("asking radosgw for its version: %q, %v", out, err)
	}
	return "radosgw " + words[2]
}
