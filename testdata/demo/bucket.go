package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// bucket is one bucket as one set of credentials sees it.
type bucket struct {
	name string
	s3   *s3.Client
}

func openBucket(endpoint, name string, c aws.Credentials) bucket {
	return bucket{name, s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true,
		RetryMaxAttempts: 1, // a refusal is an answer here
		Credentials:      credentials.StaticCredentialsProvider{Value: c},
	})}
}

// lying is the bucket with a header of the caller's on each call, which is signed like the others.
func (b bucket) lying(header, value string) bucket {
	return bucket{b.name, s3.New(b.s3.Options(), func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue(header, value))
	})}
}

func (b bucket) create(ctx context.Context) error {
	_, err := b.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b.name})
	return err
}

func (b bucket) put(ctx context.Context, key, body string) error {
	_, err := b.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: strings.NewReader(body)})
	return err
}

func (b bucket) get(ctx context.Context, key string) (_ string, err error) {
	out, err := b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Body.Close()) }()
	var body bytes.Buffer
	if _, err := io.Copy(&body, out.Body); err != nil {
		return "", fmt.Errorf("reading %s: %w", key, err)
	}
	return body.String(), nil
}

func (b bucket) remove(ctx context.Context, key string) error {
	_, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
	return err
}

func (b bucket) drop(ctx context.Context) error {
	_, err := b.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b.name})
	return err
}

// list gives the keys under a prefix with their ETags, which change with the content.
func (b bucket) list(ctx context.Context, prefix string) (map[string]string, error) {
	found := map[string]string{}
	pages := s3.NewListObjectsV2Paginator(b.s3, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			found[aws.ToString(o.Key)] = aws.ToString(o.ETag)
		}
	}
	return found, nil
}

// recreate is the agent's fix: delete every object, delete the bucket, make
// it anew. It is the same code in both replays; only the credentials differ.
func recreate(ctx context.Context, b bucket) error {
	keys, err := b.list(ctx, "")
	if err != nil {
		return fmt.Errorf("listing bucket %q: %w", b.name, err)
	}
	for key := range keys {
		if err := b.remove(ctx, key); err != nil {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
	}
	if err := b.drop(ctx); err != nil {
		return fmt.Errorf("deleting bucket %q: %w", b.name, err)
	}
	return b.create(ctx)
}

// refused is nil where err is the server's own refusal, by one of the codes, its
// status and the name in its answer; anything else is no refusal.
func (e enforcer) refused(what string, err error, codes ...string) error {
	if err == nil {
		return fmt.Errorf("%s was allowed", what)
	}
	var api smithy.APIError
	var resp *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &resp) || !slices.Contains(codes, api.ErrorCode()) ||
		resp.HTTPStatusCode() != http.StatusForbidden || resp.Response.Header.Get("Server") != e.server {
		return fmt.Errorf("%s was not refused by %s, but failed: %w", what, e.name, err)
	}
	return nil
}

// summary counts the keys by folder: "orders/ 30, reports/ 30".
func summary(keys map[string]string) string {
	count := map[string]int{}
	for k := range keys {
		folder, _, _ := strings.Cut(k, "/")
		count[folder]++
	}
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s/ %d", f, count[f]))
	}
	return strings.Join(parts, ", ")
}
