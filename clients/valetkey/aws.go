package valetkey

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// AWS makes a credentials provider for aws-sdk-go-v2, for a scope whose provider
// is AWS or an S3-compatible server. It is a Source: it answers from memory and
// renews ahead by itself, so that it needs no cache. Inside an
// aws.CredentialsCache, which the AWS SDK's config package puts around any
// provider, give the cache a window, so that it asks again before the end:
//
//	cfg, err := config.LoadDefaultConfig(ctx,
//		config.WithCredentialsProvider(task.AWS("s3-prefix-read", params)),
//		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
//			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
//		}))
func (t *Task) AWS(scope string, params Params, opts ...RequestOption) *AWSProvider {
	return &AWSProvider{Source: t.Source(scope, params, opts...)}
}

// AWSProvider is an aws.CredentialsProvider that stands on a Source.
type AWSProvider struct{ *Source }

var _ aws.CredentialsProvider = (*AWSProvider)(nil)

// Retrieve implements aws.CredentialsProvider. Expires is the deadline of the
// grant where that comes before STS's own.
func (p *AWSProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.Credential(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	s := c.Reveal().AWS
	if s == nil {
		return aws.Credentials{}, fmt.Errorf("scope %s gives no AWS credential", p.req.scope)
	}
	return aws.Credentials{
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken,
		Source: "valetkey", CanExpire: true, Expires: c.ExpiresAt(),
	}, nil
}
