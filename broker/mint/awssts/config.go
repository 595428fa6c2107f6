package awssts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
	"github.com/valetkey/valetkey/scopes/iam"
)

// STS limits: the API reference of AssumeRole, and of role chaining.
const (
	minSession     = 900 * time.Second
	maxSession     = 43200 * time.Second
	maxChained     = 3600 * time.Second
	defaultSession = 3600 * time.Second // AWS's default for a role
)

// Config is one role at one STS.
type Config struct {
	// Role is the name orders call it by. Required.
	Role string
	// RoleARN is required. An S3-compatible server may ignore it: there the role is the
	// user whose credentials sign the call.
	RoleARN string
	// ExternalID is sent when set, for a role in somebody else's account.
	ExternalID string
	// Region of STS, told to the agent too. Empty means us-east-1.
	Region string
	// Endpoint is the STS URL; empty means AWS's own. Required but for iam.DialectAWS.
	Endpoint string
	// S3Endpoint is told to the agent; empty means AWS's own.
	S3Endpoint string
	// Dialect of the session policy, which an order's permissions have to be proven in. Required: no server must get the
	// wrong one by omission.
	Dialect iam.Dialect
	// MaxSession is the role's MaxSessionDuration; 0 means 1 h, AWS's default.
	MaxSession time.Duration
	// Chained says that the broker's own credentials are a role session; AWS then allows 1 h.
	Chained bool
	// WebIdentity, when set, is used instead of any AWS credentials.
	WebIdentity *WebIdentity
	// Credentials sign the call; nil means the SDK's default chain.
	Credentials aws.CredentialsProvider
	// RoleDeny, when set, ends sessions by an entry in an inline policy of the role. It works
	// whatever the dialect; nil means by the server's own call, or by the deadline.
	RoleDeny *RoleDeny
	// Log tells why sessions could not be revoked; nil means nowhere.
	Log *slog.Logger
	// Permits verifies and spends permits; shared by all Minters of the process. Required.
	Permits *mint.Verifier
	// Timeout bounds one Mint or Revoke; 0 means 5 s.
	Timeout time.Duration
	// HTTPClient is for tests and proxies; nil means the SDK's.
	HTTPClient aws.HTTPClient
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// RoleDeny is how sessions of the role are ended early. The broker's own credentials need
// iam:GetRole, iam:GetRolePolicy, iam:PutRolePolicy and iam:DeleteRolePolicy on this one role,
// which must be of their own account. Whoever can write a role's policies can widen them too:
// a permissions boundary on the role bounds that.
type RoleDeny struct {
	// PolicyName of the inline policy, which is the broker's alone; empty means
	// DefaultDenyPolicy. Brokers that share a role each need a name of their own.
	PolicyName string
	// Mark is in the policy's Sids and tells one broker's entries from another's, which are never
	// changed: up to 16 letters and digits, without T. Empty for none.
	Mark string
	// Cut ends every session of the role when an operator's revocation finds no room, rather than
	// leave the one session to its deadline. No agent's release does that.
	Cut bool
	// AssumeRoleARN is a role that alone may change the agents' role, and that the broker takes on
	// for that; empty means the broker's own credentials. ExternalID goes with it.
	AssumeRoleARN, ExternalID string
	// Endpoint is the IAM URL; empty means AWS's own. Required but for iam.DialectAWS.
	Endpoint string
}

// DefaultDenyPolicy is the inline policy that holds the deny entries.
const DefaultDenyPolicy = "valetkey-revoked-sessions"

// policyName is IAM's pattern for a policy's name (API reference, PutRolePolicy).
var policyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

var policyMark = regexp.MustCompile(`^[A-SU-Za-z0-9]{0,16}$`)

func (r RoleDeny) check(c Config) (errs []error) {
	if r.PolicyName != "" && !policyName.MatchString(r.PolicyName) {
		errs = append(errs, fmt.Errorf("role deny: illegal policy name %q", r.PolicyName))
	}
	if !policyMark.MatchString(r.Mark) {
		errs = append(errs, fmt.Errorf("role deny: illegal mark %q", r.Mark))
	}
	if r.Cut && c.Dialect != iam.DialectAWS {
		errs = append(errs, errors.New("role deny: a cut needs aws:TokenIssueTime, which not every S3-compatible server keeps"))
	}
	if roleName(c.RoleARN) == "" {
		errs = append(errs, fmt.Errorf("role deny: %q is not the ARN of an IAM role", c.RoleARN))
	}
	if c.WebIdentity != nil && r.AssumeRoleARN == "" {
		errs = append(errs, errors.New("role deny needs AWS credentials; a web identity has none for IAM, so it needs a role to assume"))
	}
	if r.AssumeRoleARN != "" && roleName(r.AssumeRoleARN) == "" {
		errs = append(errs, fmt.Errorf("role deny: %q is not the ARN of an IAM role", r.AssumeRoleARN))
	}
	if r.AssumeRoleARN == c.RoleARN {
		errs = append(errs, errors.New("role deny: the role to assume is the agents' own"))
	}
	if r.ExternalID != "" && r.AssumeRoleARN == "" {
		errs = append(errs, errors.New("role deny: an external id without a role to assume"))
	}
	if c.Dialect.S3() && r.Endpoint == "" {
		errs = append(errs, fmt.Errorf("role deny: dialect %q needs an IAM endpoint", c.Dialect))
	}
	if r.Endpoint != "" && !isURL(r.Endpoint) {
		errs = append(errs, errors.New("role deny: endpoint is not an http or https URL"))
	}
	return errs
}

// roleName is the last segment of a role's ARN, which is what IAM calls it by; the path before it
// is no part of the name.
func roleName(arn string) string {
	_, path, ok := strings.Cut(arn, ":role/")
	if !ok {
		return ""
	}
	return path[strings.LastIndex(path, "/")+1:]
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// WebIdentity signs in with the broker's own JWT-SVID, so that no AWS key stands anywhere.
// STS takes tags and the source identity from such a token alone, so these are
// not on the session: its name ties it to the record.
type WebIdentity struct {
	// Audience the role's trust policy asks for. Required.
	Audience string
	// Fetch returns a fresh JWT-SVID for that audience. Required.
	Fetch func(ctx context.Context, audience string) (string, error)
}

// Minter mints sessions of one role. Safe for concurrent use.
type Minter struct {
	cfg  Config
	sts  *sts.Client
	sdk  aws.Config
	cred aws.CredentialsProvider // nil with WebIdentity
	http aws.HTTPClient
	up   *upstream.Upstream
	deny *denier // nil without RoleDeny
}

var _ mint.Urgent = (*Minter)(nil)

// New checks the configuration, and loads the SDK's own (environment, shared files). It
// calls no server.
func New(ctx context.Context, cfg Config) (*Minter, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring AWS role %q: %w", cfg.Role, err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.MaxSession == 0 {
		cfg.MaxSession = defaultSession
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = newHTTPClient()
	}
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRegion(cfg.Region),
		awsconfig.WithHTTPClient(cfg.HTTPClient),
		awsconfig.WithAPIOptions([]func(*middleware.Stack) error{plainBody}),
		// Repeating is this package's decision, not the SDK's: see Mint.
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	switch {
	case cfg.WebIdentity != nil:
		options = append(options, awsconfig.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case cfg.Credentials != nil:
		options = append(options, awsconfig.WithCredentialsProvider(cfg.Credentials))
	}
	sdk, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("configuring AWS role %q: loading SDK configuration: %w", cfg.Role, err)
	}
	m := &Minter{cfg: cfg, sdk: sdk, http: sdk.HTTPClient}
	m.sts = sts.NewFromConfig(sdk, func(o *sts.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	})
	if cfg.RoleDeny != nil {
		m.deny = newDenier(cfg, sdk, m.sts)
	}
	if cfg.WebIdentity == nil {
		m.cred = sdk.Credentials
	}
	m.up = upstream.New("STS role "+cfg.Role, cfg.Timeout)
	return m, nil
}

// newHTTPClient keeps a connection for each of many callers at once; the SDK keeps 10.
func newHTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	})
}

func (c Config) check() error {
	var errs []error
	if c.Role == "" || c.RoleARN == "" {
		errs = append(errs, errors.New("role and role ARN are required"))
	}
	if c.Permits == nil {
		errs = append(errs, errors.New("a permit verifier is required"))
	}
	if _, err := iam.ParseDialect(string(c.Dialect)); err != nil {
		errs = append(errs, err)
	}
	if c.Dialect.S3() && c.Endpoint == "" {
		errs = append(errs, fmt.Errorf("dialect %q needs an endpoint", c.Dialect))
	}
	if c.Endpoint != "" && !isURL(c.Endpoint) {
		errs = append(errs, errors.New("endpoint is not an http or https URL"))
	}
	if c.RoleDeny != nil {
		errs = append(errs, c.RoleDeny.check(c)...)
	}
	if c.MaxSession != 0 && (c.MaxSession < minSession || c.MaxSession > maxSession) {
		errs = append(errs, fmt.Errorf("max session %v not in [%v, %v]", c.MaxSession, minSession, maxSession))
	}
	if c.WebIdentity != nil {
		if c.WebIdentity.Audience == "" || c.WebIdentity.Fetch == nil {
			errs = append(errs, errors.New("web identity needs an audience and a token source"))
		}
		if c.Credentials != nil {
			errs = append(errs, errors.New("web identity and credentials exclude each other"))
		}
	}
	return errors.Join(errs...)
}
