package scopes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// padded is a scope on one bucket, and one on the objects of as many as a caller names.
const padded = `name: x
description: d
provider: aws
role: s3
params:
  scratch: {type: s3_bucket}
  data: {type: s3_bucket, list: true}
statements:
  - actions: [s3:DeleteBucket, s3:ListBucket]
    resources: ["arn:aws:s3:::{scratch}"]
  - actions: [s3:GetObject]
    resources: ["arn:aws:s3:::{data}/*"]
ttl: {default: 15m, max: 1h}
`

// F2: parameters that pad a policy past 2,048 characters made one statement of two, by AWS's catalogue; to MinIO a call
// on a bucket is one on "bucket/", which "bucket/*" takes.
func TestPaddingGivesNoBucket(t *testing.T) {
	c, err := scopes.Load(folder(t, map[string]string{"x.yaml": padded}))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range iam.Dialects() {
		merged := false
		for n := range 16 * 8 { // eight lengths of the last name, to come by the limit
			data := []string{"payroll"}
			for i := range n / 8 {
				data = append(data, fmt.Sprintf("%s%02d", strings.Repeat("x", 59), i))
			}
			data = append(data, strings.Repeat("y", 3+n%8*8))
			r, err := c.Resolve(scopes.Query{Scope: "x", Dialect: d, Params: params{"scratch": {"scratch"}, "data": data}})
			if errors.Is(err, scopes.ErrTooLarge) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			p := *r.Permissions().AWS
			merged = merged || len(p.Statements) == 1
			bound, err := iam.Bind(p, iam.Limits{NotAfter: time.Unix(1, 0), Dialect: d})
			if err != nil {
				t.Fatal(err)
			}
			e, err := iam.Compile(d, []iam.Policy{bound}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, action := range []string{"s3:ListBucket", "s3:DeleteBucket"} {
				if d == iam.DialectAWS && len(p.Statements) == 1 {
					continue // no call to AWS has such a pair
				}
				got, err := e.Allows(iam.Request{Action: action, Resource: "arn:aws:s3:::payroll"})
				if err != nil || got.Verdict == iam.Allowed {
					t.Errorf("%s with %d names: %s on payroll: %s, %v", d, n, action, got.Verdict, err)
				}
			}
		}
		if merged != (d == iam.DialectAWS) {
			t.Errorf("%s: merged by AWS's catalogue: %v", d, merged)
		}
	}
}

func TestResolveNeedsADialect(t *testing.T) {
	c, err := scopes.Load(folder(t, map[string]string{"x.yaml": good}))
	if err != nil {
		t.Fatal(err)
	}
	q := scopes.Query{Scope: "x", Params: params{"bucket": {"abc"}}}
	if r, err := c.Resolve(q); !errors.Is(err, scopes.ErrDialect) || !errors.Is(err, scopes.ErrCatalog) || r.Valid() {
		t.Errorf("%v", err)
	}
	if _, err := c.Under(map[string]iam.Dialect{"other": iam.DialectAWS}); !errors.Is(err, scopes.ErrDialect) {
		t.Errorf("%v", err)
	}
	if _, err := c.For("s3-compatible"); !errors.Is(err, scopes.ErrDialect) || !strings.Contains(err.Error(), `"minio", "radosgw" or "versitygw"`) {
		t.Errorf("%v", err)
	}
	for _, d := range iam.Dialects() {
		under, err := c.For(d)
		if err != nil {
			t.Fatal(err)
		}
		r, err := under.Resolve(q)
		if err != nil || r.Permissions().Dialect != d {
			t.Errorf("%s: %v", d, err)
		}
		other := q
		other.Dialect = iam.Dialects()[0]
		if _, err := under.Resolve(other); (d == other.Dialect) != (err == nil) {
			t.Errorf("%s, asked for %s: %v", d, other.Dialect, err)
		}
	}
}

// What a dialect does not model keeps the scope from it, with the place in the file, and from no other.
func TestUnmodelledScopes(t *testing.T) {
	for name, x := range map[string]struct {
		from, to string
		where    string
		only     []iam.Dialect
	}{
		"another service": {"s3:GetObject]\n    resources: [\"arn:aws:s3:::{bucket}/*\"]", "sqs:SendMessage]\n    resources: [\"arn:aws:sqs:*:*:{bucket}\"]", "x.yaml:8:5", []iam.Dialect{iam.DialectAWS}},
		"a variable":      {"{bucket}/*", "{bucket}/${aws:username}/*", "x.yaml:8:5", []iam.Dialect{iam.DialectAWS}},
		"a question mark": {"{bucket}/*", "{bucket}/?", "x.yaml:8:5", []iam.Dialect{iam.DialectAWS}},
		"one not there":   {"s3:GetObject]", "s3:GetObjectTorrent]", "", nil},
	} {
		c, err := scopes.Load(folder(t, map[string]string{"x.yaml": strings.Replace(good, x.from, x.to, 1)}))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := c.Scopes()[0].Dialects()
		if x.only != nil && fmt.Sprint(got) != fmt.Sprint(x.only) {
			t.Errorf("%s: %v", name, got)
		}
		if _, err := c.For(iam.DialectMinIO); !errors.Is(err, scopes.ErrDialect) || !strings.Contains(err.Error(), x.where) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// On MinIO "team-*-logs" does not take the bucket team-a-logs, which is "team-a-logs/": a ceiling of that form has to say
// so, and our own does.
func TestCeilingsOfBucketsOnMinIO(t *testing.T) {
	text := strings.NewReplacer("s3:GetObject]", "s3:ListBucket]", "{bucket}/*", "team-{bucket}-logs").Replace(good)
	c, err := scopes.Load(folder(t, map[string]string{"x.yaml": text}))
	if err != nil {
		t.Fatal(err)
	}
	c, err = c.For(iam.DialectMinIO)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Resolve(scopes.Query{Scope: "x", Params: params{"bucket": {"abc"}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := iam.Covers(iam.DialectMinIO, []iam.Policy{*c.Scopes()[0].Ceiling().AWS}, []iam.Policy{*r.Permissions().AWS})
	if err != nil || got.Answer != iam.Yes {
		t.Errorf("%+v, %v", got, err)
	}
	for resource, want := range map[string]bool{"arn:aws:s3:::team-*-logs": false, "arn:aws:s3:::team-*": true, "*": true} {
		err := c.ProveCeilings(map[string]scopes.RoleCeiling{"s3": ceiling(t, scopes.ProviderAWS, fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:ListBucket","Resource":%q}}`, resource))})
		if (err == nil) != want {
			t.Errorf("%s: %v", resource, err)
		}
	}
}
