package scopes_test

import (
	"slices"
	"testing"

	"github.com/valetkey/valetkey/scopes"
)

// An empty value of a condition is one: AWS's own examples list a bucket's root with s3:prefix ["", "home/"].
func TestEmptyConditionValue(t *testing.T) {
	c, _ := load(t, `name: x
description: d
provider: aws
role: s3
params:
  bucket: {type: s3_bucket, allowed: [reports]}
statements:
  - actions: [s3:ListBucket]
    resources: ["arn:aws:s3:::{bucket}"]
    conditions: {StringLike: {"s3:prefix": ["", "home/"]}}
ttl: {default: 15m, max: 1h}
`)
	r, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"reports"}}})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Permissions().AWS.Statements[0].Condition["StringLike"]["s3:prefix"]
	if !slices.Equal(got, []string{"", "home/"}) {
		t.Errorf("%q", got)
	}
}
