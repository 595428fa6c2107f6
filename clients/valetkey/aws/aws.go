// Package aws makes credentials providers for aws-sdk-go-v2. It is apart from the SDK's core so that a program that
// needs none does not build the AWS SDK.
package aws

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// Provider is an aws.CredentialsProvider that stands on a source.
type Provider struct{ *valetkey.Source }

var _ aws.CredentialsProvider = (*Provider)(nil)

// NewProvider makes a provider from src, whose scope's provider is AWS or an
// S3-compatible server. It answers from memory and renews ahead by itself, so that
// it needs no cache. Inside an aws.CredentialsCache, which the AWS SDK's config
// package puts around any provider, give the cache a window, so that it asks again
// before the end:
//
//	cfg, err := config.LoadDefaultConfig(ctx,
//		config.WithCredentialsProvider(vkaws.NewProvider(task.Source("s3-prefix-read", params))),
//		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
//			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
//		}))
func NewProvider(src *valetkey.Source) *Provider { return &Provider{src} }

// Retrieve implements aws.CredentialsProvider. Expires is the deadline of the
// grant where that comes before STS's own.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.Credential(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	s := c.Reveal().AWS
	if s == nil {
		return aws.Credentials{}, fmt.Errorf("scope %s gives no AWS credential", p.Scope())
	}
	return aws.Credentials{
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken,
		Source: "valetkey", CanExpire: true, Expires: c.ExpiresAt(),
	}, nil
}
