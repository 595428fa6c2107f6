package s3calls_test

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// target is what a call is made on.
type target struct {
	bucket, key, version string
	source               string // "bucket/key" to copy from
	upload               string // of gone, begun and never ended
}

// call is one S3 call.
type call struct {
	name   string
	action string // what AWS checks it as
	form   string // "none", "bucket" or "object"
	do     func(context.Context, *s3.Client, target) error
}

func as[T any](_ T, err error) error { return err }

// gone is a key that nobody reads.
func (t target) gone() *string { return aws.String(t.key + ".gone") }

func (t target) names() (bucket, key, version *string) {
	return aws.String(t.bucket), aws.String(t.key), aws.String(t.version)
}

// deleted is the error of the one key of a batch.
func deleted(out *s3.DeleteObjectsOutput, err error) error {
	if err != nil {
		return err
	}
	for _, e := range out.Errors {
		if aws.ToString(e.Code) == "AccessDenied" {
			return denial{}
		}
	}
	return nil
}

func tagging() *types.Tagging {
	return &types.Tagging{TagSet: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
}

// noUpload is an upload that is not there: the one that is has to stay.
const noUpload = "MmE2ZjQ0YzktNGM0NS00ZTM5LThmMDktNTM1NzY1YTUyZDc5"

// calls are what S3 users do; each can be made over and over, and changes nothing that another looks at.
var calls = []call{ // read-only
	{"ListBuckets", "s3:ListAllMyBuckets", "none", func(ctx context.Context, c *s3.Client, _ target) error {
		return as(c.ListBuckets(ctx, &s3.ListBucketsInput{}))
	}},
	{"HeadBucket", "s3:ListBucket", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(t.bucket)}))
	}},
	{"ListObjects", "s3:ListBucket", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String(t.bucket)}))
	}},
	{"ListObjectsV2", "s3:ListBucket", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(t.bucket)}))
	}},
	{"ListObjectVersions", "s3:ListBucketVersions", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(t.bucket)}))
	}},
	{"ListMultipartUploads", "s3:ListBucketMultipartUploads", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketLocation", "s3:GetBucketLocation", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketVersioning", "s3:GetBucketVersioning", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: aws.String(t.bucket)}))
	}},
	{"PutBucketVersioning", "s3:PutBucketVersioning", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String(t.bucket),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}))
	}},
	{"GetBucketPolicy", "s3:GetBucketPolicy", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: aws.String(t.bucket)}))
	}},
	{"PutBucketPolicy", "s3:PutBucketPolicy", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(t.bucket), Policy: aws.String(`{"Version":"none"}`)}))
	}},
	{"DeleteBucketPolicy", "s3:DeleteBucketPolicy", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketTagging", "s3:GetBucketTagging", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: aws.String(t.bucket)}))
	}},
	{"PutBucketTagging", "s3:PutBucketTagging", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: aws.String(t.bucket), Tagging: tagging()}))
	}},
	{"GetBucketAcl", "s3:GetBucketAcl", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: aws.String(t.bucket)}))
	}},
	{"PutBucketAcl", "s3:PutBucketAcl", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: aws.String(t.bucket), ACL: types.BucketCannedACLPrivate}))
	}},
	{"GetBucketLifecycle", "s3:GetLifecycleConfiguration", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketCors", "s3:GetBucketCORS", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketEncryption", "s3:GetEncryptionConfiguration", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetBucketNotification", "s3:GetBucketNotification", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: aws.String(t.bucket)}))
	}},
	{"CreateBucket", "s3:CreateBucket", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(t.bucket)}))
	}},
	{"DeleteBucket that is not empty", "s3:DeleteBucket", "bucket", func(ctx context.Context, c *s3.Client, t target) error {
		return as(c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(t.bucket)}))
	}},
	{"GetObject", "s3:GetObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return read(c.GetObject(ctx, &s3.GetObjectInput{Bucket: b, Key: k}))
	}},
	{"HeadObject", "s3:GetObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: b, Key: k}))
	}},
	{"GetObject of a version", "s3:GetObjectVersion", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, v := t.names()
		return read(c.GetObject(ctx, &s3.GetObjectInput{Bucket: b, Key: k, VersionId: v}))
	}},
	{"HeadObject of a version", "s3:GetObjectVersion", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, v := t.names()
		return as(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: b, Key: k, VersionId: v}))
	}},
	{"PutObject", "s3:PutObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.PutObject(ctx, &s3.PutObjectInput{Bucket: b, Key: t.gone(), Body: strings.NewReader("x")}))
	}},
	{"PutObject with tags", "s3:PutObjectTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.PutObject(ctx, &s3.PutObjectInput{Bucket: b, Key: t.gone(), Body: strings.NewReader("x"), Tagging: aws.String("k=v")}))
	}},
	{"CopyObject", "s3:PutObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		out, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: b, Key: t.gone(), CopySource: aws.String(t.source)})
		if err == nil && (out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) == "") {
			return denial{} // radosgw answers 200, and says no below
		}
		return err
	}},
	{"DeleteObject", "s3:DeleteObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b, Key: t.gone()}))
	}},
	{"DeleteObject of a version", "s3:DeleteObjectVersion", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, v := t.names()
		return as(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b, Key: t.gone(), VersionId: v}))
	}},
	{"DeleteObjects", "s3:DeleteObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return deleted(c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: t.gone()}}}}))
	}},
	{"DeleteObjects of a version", "s3:DeleteObjectVersion", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, v := t.names()
		return deleted(c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: t.gone(), VersionId: v}}}}))
	}},
	{"GetObjectTagging", "s3:GetObjectTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: b, Key: k}))
	}},
	{"GetObjectTagging of a version", "s3:GetObjectVersionTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, v := t.names()
		return as(c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: b, Key: k, VersionId: v}))
	}},
	{"PutObjectTagging", "s3:PutObjectTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: b, Key: k, Tagging: tagging()}))
	}},
	{"PutObjectTagging of a version", "s3:PutObjectVersionTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, v := t.names()
		return as(c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: b, Key: k, VersionId: v, Tagging: tagging()}))
	}},
	{"DeleteObjectTagging", "s3:DeleteObjectTagging", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: b, Key: k}))
	}},
	{"GetObjectAcl", "s3:GetObjectAcl", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: b, Key: k}))
	}},
	{"PutObjectAcl", "s3:PutObjectAcl", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: b, Key: k, ACL: types.ObjectCannedACLPrivate}))
	}},
	{"CreateMultipartUpload", "s3:PutObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: b, Key: t.gone()}))
	}},
	{"UploadPart", "s3:PutObject", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: t.gone(), UploadId: aws.String(t.upload), PartNumber: aws.Int32(1), Body: strings.NewReader("x")}))
	}},
	{"AbortMultipartUpload", "s3:AbortMultipartUpload", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: b, Key: t.gone(), UploadId: aws.String(noUpload)}))
	}},
	{"ListParts", "s3:ListMultipartUploadParts", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, _, _ := t.names()
		return as(c.ListParts(ctx, &s3.ListPartsInput{Bucket: b, Key: t.gone(), UploadId: aws.String(t.upload)}))
	}},
	{"GetObjectRetention", "s3:GetObjectRetention", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: b, Key: k}))
	}},
	{"GetObjectLegalHold", "s3:GetObjectLegalHold", "object", func(ctx context.Context, c *s3.Client, t target) error {
		b, k, _ := t.names()
		return as(c.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: b, Key: k}))
	}},
}

func read(out *s3.GetObjectOutput, err error) error {
	if err != nil {
		return err
	}
	return out.Body.Close()
}
