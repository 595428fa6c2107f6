package awssts

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
	"github.com/valetkey/valetkey/scopes/iam"
)

// maxPause is the longest wait before the one repeat.
const maxPause = 250 * time.Millisecond

// answer is what both STS operations give.
type answer struct {
	accessKeyID, secret, token string
	expires                    time.Time
	session                    string    // the assumed role's session name; empty when the server tells none
	roleID                     string    // the role's unique id; empty when the server tells none
	at                         time.Time // the server's clock; zero when it does not tell
}

// Mint implements mint.Minter.
func (m *Minter) Mint(ctx context.Context, p mint.Permit) (mint.Credential, error) {
	cred, err := m.mint(ctx, p)
	if err != nil {
		return mint.Credential{}, fmt.Errorf("minting STS session for role %q: %w", m.cfg.Role, err)
	}
	return cred, nil
}

func (m *Minter) mint(ctx context.Context, p mint.Permit) (mint.Credential, error) {
	o, err := m.cfg.Permits.Verify(p)
	if err != nil {
		return mint.Credential{}, err
	}
	now := m.cfg.Now()
	pl, err := m.cfg.prepare(o, now)
	if err != nil {
		return mint.Credential{}, err
	}
	var got answer
	var expires time.Time
	err = m.up.Do(ctx, func(ctx context.Context) error {
		got, err = m.call(ctx, o, pl)
		if err != nil {
			return err
		}
		expires, err = pl.accept(got, o, now)
		return err
	})
	if err != nil {
		return mint.Credential{}, err
	}
	h := o.Handle(mint.ProviderAWS)
	h.AccessKeyID, h.RoleID = got.accessKeyID, got.roleID
	if m.cfg.Dialect.Believes() {
		h.NotAfter = got.expires // its policy's deadline holds nobody: the lease is revoked, or this is its end
	}
	m.deny.learn(got.roleID)
	return mint.NewCredential(h, expires, mint.Secret{AWS: &mint.AWSSecret{
		AccessKeyID: got.accessKeyID, SecretAccessKey: got.secret, SessionToken: got.token,
		Region: m.cfg.Region, Endpoint: m.cfg.S3Endpoint,
	}}), nil
}

// call asks STS, and once more where the first try is certain to have minted nothing.
func (m *Minter) call(ctx context.Context, o mint.Order, pl plan) (answer, error) {
	got, err := m.once(ctx, o, pl)
	if err == nil || !repeatable(err) {
		return got, err
	}
	pause := time.NewTimer(maxPause/5 + rand.N(maxPause*4/5)) //nolint:gosec // jitter needs no secrecy
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return answer{}, err
	case <-pause.C:
	}
	return m.once(ctx, o, pl)
}

func (m *Minter) once(ctx context.Context, o mint.Order, pl plan) (answer, error) {
	if m.cfg.WebIdentity != nil {
		return m.withWebIdentity(ctx, o, pl)
	}
	// Fetched apart, so that failing credentials of our own are never taken for a lost answer.
	if _, err := m.cred.Retrieve(ctx); err != nil {
		return answer{}, upstream.NoOwn(ctx, "AWS credentials")
	}
	in := &sts.AssumeRoleInput{
		RoleArn:         aws.String(m.cfg.RoleARN),
		RoleSessionName: aws.String(o.SessionName),
		SourceIdentity:  aws.String(pl.sourceIdentity),
		DurationSeconds: aws.Int32(pl.seconds),
		Policy:          aws.String(pl.policy),
	}
	if m.cfg.ExternalID != "" {
		in.ExternalId = aws.String(m.cfg.ExternalID)
	}
	for _, t := range pl.tags {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.key), Value: aws.String(t.value)})
	}
	out, err := m.sts.AssumeRole(ctx, in, m.options(o))
	if err != nil {
		return answer{}, classify(ctx, "STS", err, m.cfg.Now())
	}
	return m.read(out.Credentials, out.AssumedRoleUser, out.ResultMetadata)
}

func (m *Minter) withWebIdentity(ctx context.Context, o mint.Order, pl plan) (answer, error) {
	token, err := m.cfg.WebIdentity.Fetch(ctx, m.cfg.WebIdentity.Audience)
	if err != nil || token == "" {
		return answer{}, upstream.NoOwn(ctx, "JWT-SVID")
	}
	out, err := m.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(m.cfg.RoleARN),
		RoleSessionName:  aws.String(o.SessionName),
		WebIdentityToken: aws.String(token),
		DurationSeconds:  aws.Int32(pl.seconds),
		Policy:           aws.String(pl.policy),
	}, m.options(o))
	if err != nil {
		return answer{}, classify(ctx, "STS", err, m.cfg.Now())
	}
	return m.read(out.Credentials, out.AssumedRoleUser, out.ResultMetadata)
}

func (m *Minter) options(o mint.Order) func(*sts.Options) {
	return func(opts *sts.Options) {
		if m.cfg.Dialect != iam.DialectMinIO {
			return
		}
		opts.APIOptions = append(opts.APIOptions, func(s *middleware.Stack) error {
			return s.Build.Add(revokeType(o.SessionName), middleware.Before)
		})
	}
}

func (m *Minter) read(c *types.Credentials, u *types.AssumedRoleUser, meta middleware.Metadata) (answer, error) {
	if c == nil {
		return answer{}, fmt.Errorf("answer has no session: %w", mint.ErrInvalid)
	}
	a := answer{
		accessKeyID: aws.ToString(c.AccessKeyId), secret: aws.ToString(c.SecretAccessKey),
		token: aws.ToString(c.SessionToken), expires: aws.ToTime(c.Expiration),
	}
	if at, ok := awsmiddleware.GetServerTime(meta); ok {
		a.at = at
	}
	if m.cfg.Dialect != iam.DialectMinIO && u != nil {
		// arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
		arn := aws.ToString(u.Arn)
		a.session = arn[strings.LastIndex(arn, "/")+1:]
	}
	if u != nil && userID.MatchString(aws.ToString(u.AssumedRoleId)) {
		a.roleID, _, _ = strings.Cut(aws.ToString(u.AssumedRoleId), ":")
	}
	return a, nil
}
