package review_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/review"
)

// drawScope makes a scope of statements that a careless editor could write.
func drawScope(t *rapid.T, name string) string {
	objects := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"arn:aws:s3:::{bucket}/{prefix}*", "arn:aws:s3:::{bucket}/*", "arn:aws:s3:::logs/*", "arn:aws:s3:::{bucket}/a/*", "arn:aws:s3:::*/{prefix}*",
		"arn:aws:s3:::{bucket}-old/{prefix}*", "arn:aws:s3:::data/{prefix}*",
	}), 1, 2, rapid.ID).Draw(t, name+" objects")
	acts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}), 1, 3, rapid.ID).Draw(t, name+" actions")
	body := "  - actions: [" + strings.Join(acts, ", ") + "]\n    resources: [\"" + strings.Join(objects, "\", \"") + "\"]\n"
	if list := rapid.SampledFrom([]string{"", "{bucket}", "logs", "*"}).Draw(t, name+" list"); list != "" {
		body += "  - actions: [s3:ListBucket]\n    resources: [\"arn:aws:s3:::" + list + "\"]\n"
		if p := rapid.SampledFrom([]string{"", "{prefix}*", "a/*"}).Draw(t, name+" condition"); p != "" {
			body += "    conditions: {StringLike: {\"s3:prefix\": \"" + p + "\"}}\n"
		}
	}
	params := ""
	if strings.Contains(body, "{bucket}") {
		params += "  bucket: {type: s3_bucket" + rapid.SampledFrom([]string{"", ", allowed: [logs]", ", allowed: [logs, data]", ", allowed: [data]"}).Draw(t, name+" allowed") + "}\n"
	}
	if strings.Contains(body, "{prefix}") {
		params += "  prefix: {type: s3_prefix" + rapid.SampledFrom([]string{"", ", allowed: [a, b]"}).Draw(t, name+" prefixes") + "}\n"
	}
	if params != "" {
		params = "params:\n" + params
	}
	return "name: x\ndescription: d\nprovider: aws\nrole: s3\n" + params + "statements:\n" + body + "ttl: {default: 15m, max: 1h}\n"
}

// answers lists what each request of some values gives.
func answers(c *scopes.Catalog, bucket, prefix string) []iam.Policy {
	s, _ := c.Scope("x")
	q := scopes.Query{Dialect: iam.DialectAWS, Scope: "x", Params: map[string][]string{}}
	for _, p := range s.Params() {
		q.Params[p.Name] = []string{map[string]string{"bucket": bucket, "prefix": prefix}[p.Name]}
	}
	r, err := c.Resolve(q)
	if err != nil {
		return nil
	}
	return []iam.Policy{*r.Permissions().AWS}
}

// What one request could not do before and can do now is never missing from a difference.
func TestDiffMissesNothing(t *testing.T) {
	dir := t.TempDir()
	open := func(t *rapid.T, text string) *scopes.Catalog {
		if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := scopes.Load(dir)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return c
	}
	buckets, prefixes := []string{"logs", "data", "other"}, []string{"a/", "b/", "c/"}
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawScope(t, "before"), drawScope(t, "after")
		a, b := open(t, before), open(t, after)
		d := review.Diff(a, b)
		bucket, prefix := rapid.SampledFrom(buckets).Draw(t, "bucket"), rapid.SampledFrom(prefixes).Draw(t, "prefix")
		r := iam.Request{
			Action:   rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}).Draw(t, "action"),
			Resource: "arn:aws:s3:::" + rapid.SampledFrom(append(buckets, "logs-old", "other-old")).Draw(t, "resource"),
			Context:  map[string][]string{"s3:prefix": {rapid.SampledFrom(prefixes).Draw(t, "context")}},
		}
		if r.Action != "s3:ListBucket" {
			r.Resource += "/" + rapid.SampledFrom(prefixes).Draw(t, "key") + "x"
		}
		may := func(ps []iam.Policy) bool {
			got, err := iam.Allows(iam.DialectAWS, ps, nil, nil, r)
			if err != nil {
				t.Fatal(err)
			}
			return got.Verdict == iam.Allowed
		}
		if !may(answers(b, bucket, prefix)) {
			return
		}
		// A parameter that only the old side has is free there.
		s, _ := b.Scope("x")
		has := map[string]bool{}
		for _, p := range s.Params() {
			has[p.Name] = true
		}
		olds, oldPrefixes := buckets, prefixes
		if has["bucket"] {
			olds = []string{bucket}
		}
		if has["prefix"] {
			oldPrefixes = []string{prefix}
		}
		for _, ob := range olds {
			for _, op := range oldPrefixes {
				if may(answers(a, ob, op)) {
					return
				}
			}
		}
		if d.Gains() == 0 {
			t.Fatalf("%s on %s with bucket=%s prefix=%s is not told\nbefore:\n%s\nafter:\n%s", r.Action, r.Resource, bucket, prefix, before, after)
		}
	})
}
