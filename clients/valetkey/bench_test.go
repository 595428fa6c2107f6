package valetkey_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/valetkey/valetkey/clients/valetkey"
	vkaws "github.com/valetkey/valetkey/clients/valetkey/aws"
)

// BenchmarkRetrieve is an answer from memory, beside the AWS SDK's own cache. It
// runs on the examples' broker, which costs next to nothing.
func BenchmarkRetrieve(b *testing.B) {
	task := benchTask(b)
	provider := vkaws.NewProvider(task.Source("s3-prefix-read", params))
	for name, p := range map[string]aws.CredentialsProvider{"valetkey": provider, "reference aws.CredentialsCache": aws.NewCredentialsCache(provider)} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := p.Retrieve(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkMint is what the checking of receipts costs beside taking them unseen.
func BenchmarkMint(b *testing.B) {
	for name, opts := range map[string][]valetkey.Option{"checked": nil, "reference unchecked": {valetkey.WithoutReceiptChecks()}} {
		task := benchTask(b, opts...)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := task.RequestCredential(b.Context(), "s3-prefix-read", params); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchTask(b *testing.B, opts ...valetkey.Option) *valetkey.Task {
	b.Helper()
	c, err := valetkey.New(b.Context(), opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	task, err := c.OpenTask(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	return task
}
