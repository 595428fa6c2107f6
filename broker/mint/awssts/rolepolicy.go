package awssts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
	"github.com/valetkey/valetkey/scopes/iam"
)

var (
	// errNotPermitted: the broker's own credentials may not do this, until somebody lets them.
	errNotPermitted = fmt.Errorf("awssts: IAM does not permit the broker to change the role: %w", mint.ErrRefused)
	// errNoRoom: the role's inline policies would be too long together.
	errNoRoom = fmt.Errorf("awssts: over the role's inline policy quota: %w", mint.ErrRefused)
	// errTorn: IAM said yes, and the rest of the answer did not come whole.
	errTorn   = fmt.Errorf("awssts: IAM's answer did not come whole: %w", mint.ErrUnavailable)
	errAbsent = fmt.Errorf("awssts: no such role or policy: %w", mint.ErrRefused)
	// errOtherRole: a name is unique in an account alone.
	errOtherRole = fmt.Errorf("awssts: the broker's account has another role of that name: %w", mint.ErrRefused)
)

// rolePolicy is one inline policy of one role at IAM. Safe for concurrent use.
type rolePolicy struct {
	arn, role, name string
	iam             *awsiam.Client
	cred            aws.CredentialsProvider
	now             func() time.Time
	up              *upstream.Upstream // apart from STS's: a broken IAM stops no minting

	mu sync.Mutex
	id string // of the role, once it was seen to be the right one; guarded by mu
}

func newDenier(cfg Config, sdk aws.Config, sts *sts.Client) *denier {
	name := cfg.RoleDeny.PolicyName
	if name == "" {
		name = DefaultDenyPolicy
	}
	sdk.Credentials = reviser(cfg, sdk.Credentials, sts)
	return &denier{
		role: cfg.Role, longest: max(cfg.MaxSession, minSession), cutAllowed: cfg.RoleDeny.Cut, now: cfg.Now, log: cfg.Log,
		// AWS's, and what imitates it in full. Of the S3-compatible servers some take a Deny by
		// aws:TokenIssueTime and do nothing with it.
		cutsAgents: cfg.Dialect == iam.DialectAWS, parser: parser{mark: cfg.RoleDeny.Mark},
		turn: make(chan struct{}, 1),
		policy: &rolePolicy{
			arn: cfg.RoleARN, role: roleName(cfg.RoleARN), name: name, cred: sdk.Credentials, now: cfg.Now,
			up: upstream.New("IAM for role "+cfg.Role, cfg.Timeout),
			iam: awsiam.NewFromConfig(sdk, func(o *awsiam.Options) {
				if cfg.RoleDeny.Endpoint != "" {
					o.BaseEndpoint = aws.String(cfg.RoleDeny.Endpoint)
				}
			}),
		},
	}
}

// reviser is whose credentials change the role: those of a role of its own where one is named.
func reviser(cfg Config, own aws.CredentialsProvider, api *sts.Client) aws.CredentialsProvider {
	to := cfg.RoleDeny.AssumeRoleARN
	switch {
	case to == "":
		return own
	case cfg.WebIdentity != nil:
		return aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(api, to, tokenSource(*cfg.WebIdentity), func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName, o.Duration = reviserSession, minSession
		}))
	}
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(api, to, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = reviserSession, minSession
		if cfg.RoleDeny.ExternalID != "" {
			o.ExternalID = aws.String(cfg.RoleDeny.ExternalID)
		}
	}))
}

// reviserSession is how the target's log names the broker where it changes a role.
const reviserSession = "valetkeyd-revoker"

// tokenSource is a web identity as the SDK wants it.
type tokenSource WebIdentity

// GetIdentityToken fetches a fresh JWT-SVID.
func (s tokenSource) GetIdentityToken() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upstream.DefaultTimeout)
	defer cancel()
	token, err := s.Fetch(ctx, s.Audience)
	if err != nil || token == "" {
		return nil, upstream.NoOwn(ctx, "JWT-SVID")
	}
	return []byte(token), nil
}

// roleID is the role's unique id, after a look that it is the configured role.
func (p *rolePolicy) roleID(ctx context.Context) (string, error) {
	p.mu.Lock()
	id := p.id
	p.mu.Unlock()
	if id != "" {
		return id, nil
	}
	var out *awsiam.GetRoleOutput
	err := p.call(ctx, func(ctx context.Context) (err error) {
		out, err = p.iam.GetRole(ctx, &awsiam.GetRoleInput{RoleName: aws.String(p.role)})
		return err
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("reading role %q: %w", p.role, err)
	case out.Role == nil || aws.ToString(out.Role.RoleId) == "":
		return "", fmt.Errorf("reading role %q: no id: %w", p.role, mint.ErrInvalid)
	case aws.ToString(out.Role.Arn) != p.arn:
		return "", fmt.Errorf("reading role %q, which is not %s: %w", p.role, p.arn, errOtherRole)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.id = aws.ToString(out.Role.RoleId)
	return p.id, nil
}

// get is the policy's text, "" when it is not there, and the server's clock where it tells.
func (p *rolePolicy) get(ctx context.Context) (text string, at time.Time, err error) {
	return p.named(ctx, p.name)
}

// named is get of one of the role's inline policies.
func (p *rolePolicy) named(ctx context.Context, name string) (text string, at time.Time, err error) {
	var out *awsiam.GetRolePolicyOutput
	read := func() error {
		return p.call(ctx, func(ctx context.Context) (err error) {
			out, err = p.iam.GetRolePolicy(ctx, &awsiam.GetRolePolicyInput{RoleName: aws.String(p.role), PolicyName: aws.String(name)})
			return err
		})
	}
	// A full policy is a long answer, and to read it again costs nothing.
	if err = read(); errors.Is(err, errTorn) {
		err = read()
	}
	if errors.Is(err, errAbsent) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading policy %q of role %q: %w", name, p.role, err)
	}
	at, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
	text = aws.ToString(out.PolicyDocument)
	// IAM answers URL-encoded (RFC 3986), servers that imitate it may not.
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		if text, err = url.PathUnescape(text); err != nil {
			return "", at, fmt.Errorf("reading policy %q of role %q: %w", name, p.role, ErrForeign)
		}
	}
	return text, at, nil
}

// put writes the policy; no text is no policy.
func (p *rolePolicy) put(ctx context.Context, text string) error {
	err := p.call(ctx, func(ctx context.Context) (err error) {
		if text == "" {
			_, err = p.iam.DeleteRolePolicy(ctx, &awsiam.DeleteRolePolicyInput{RoleName: aws.String(p.role), PolicyName: aws.String(p.name)})
			return err
		}
		_, err = p.iam.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{
			RoleName: aws.String(p.role), PolicyName: aws.String(p.name), PolicyDocument: aws.String(text),
		})
		return err
	})
	if text == "" && errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing policy %q of role %q: %w", p.name, p.role, err)
	}
	return nil
}

func (p *rolePolicy) call(ctx context.Context, call func(context.Context) error) error {
	return p.up.Do(ctx, func(ctx context.Context) error {
		// Fetched apart, so that failing credentials of our own are not taken for IAM's answer.
		if _, err := p.cred.Retrieve(ctx); err != nil {
			return upstream.NoOwn(ctx, "AWS credentials")
		}
		if err := call(ctx); err != nil {
			return classifyIAM(ctx, err, p.now())
		}
		return nil
	})
}

func classifyIAM(ctx context.Context, err error, now time.Time) error {
	status, name := answered(err)
	switch {
	case status == 0:
	case name == "AccessDenied" || name == "AccessDeniedException" || name == "UnmodifiableEntity":
		return fmt.Errorf("IAM answered %d %s: %w", status, name, errNotPermitted)
	case status < http.StatusMultipleChoices:
		return fmt.Errorf("reading IAM answer %d: %w", status, errTorn)
	case name == "LimitExceeded" || name == "LimitExceededException":
		return fmt.Errorf("IAM answered %d %s: %w", status, name, errNoRoom)
	case status == http.StatusNotFound:
		return fmt.Errorf("IAM answered %d %s: %w", status, name, errAbsent)
	case status == http.StatusConflict: // another change of the role is under way
		return fmt.Errorf("IAM answered %d %s: %w", status, name, mint.ErrUnavailable)
	}
	return classify(ctx, "IAM", err, now)
}
