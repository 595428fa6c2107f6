package iam_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

func read() iam.Policy {
	return iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"s3:ListBucket", "s3:GetObject", "s3:GetObject"},
		Resource: []string{"arn:aws:s3:::b/<&>*"}}}}
}

func deadline() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 999, time.FixedZone("x", 3600)) }

func TestMarshalIsCanonical(t *testing.T) {
	b, err := read().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::b/<&>*"}]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if iam.Size(read()) != len(want) {
		t.Errorf("size %d", iam.Size(read()))
	}
	back, err := iam.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Marshal(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("second text %s, %v", again, err)
	}
}

func TestBind(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits iam.Limits
		want   string // what follows the Allow
	}{
		{"aws", iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS},
			`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}}},` +
				`{"Effect":"Deny","NotAction":["s3:GetObject","s3:ListBucket"],"Resource":"*"},` +
				`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/<&>*"}]}`},
		{"minio", iam.Limits{NotAfter: deadline(), Dialect: iam.DialectMinIO},
			`{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}}},` +
				`{"Effect":"Deny","Action":"s3:*","NotResource":"arn:aws:s3:::b/<&>*"},` +
				`{"Effect":"Deny","Action":"admin:*","Resource":"*"},{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`},
		{"versitygw network", iam.Limits{NotAfter: deadline(), Dialect: iam.DialectVersityGW, SourceCIDRs: []string{"203.0.113.0/24"}},
			`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}}},` +
				`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}},` +
				`{"Effect":"Deny","NotAction":["s3:GetObject","s3:ListBucket"],"Resource":"*"},` +
				`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/<&>*"}]}`},
		{"aws network", iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS, SourceCIDRs: []string{"203.0.113.0/24"}},
			`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-23T11:00:00Z"}}},` +
				`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:ViaAWSService":"false"},"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}},` +
				`{"Effect":"Deny","NotAction":["s3:GetObject","s3:ListBucket"],"Resource":"*"},` +
				`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/<&>*"}]}`},
	} {
		in := read()
		p, err := iam.Bind(in, c.limits)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		b, err := p.Marshal()
		if err != nil || !strings.HasSuffix(string(b), c.want) {
			t.Errorf("%s: %v\ngot  %s\nwant ...%s", c.name, err, b, c.want)
		}
		if len(in.Statements) != 1 || len(in.Statements[0].Action) != 3 {
			t.Errorf("%s: Bind changed its argument", c.name)
		}
	}
}

func TestBindRefuses(t *testing.T) {
	good := iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS}
	not := read()
	not.Statements[0].NotAction, not.Statements[0].Action = not.Statements[0].Action, nil
	sqs := read()
	sqs.Statements[0].Action = []string{"sqs:SendMessage"}
	for name, c := range map[string]struct {
		p iam.Policy
		l iam.Limits
	}{
		"empty policy": {iam.Policy{}, good},
		"only a deny":  {iam.Policy{Statements: []iam.Statement{{Effect: iam.Deny, Action: []string{"*"}, Resource: []string{"*"}}}}, good},
		"no deadline":  {read(), iam.Limits{Dialect: iam.DialectAWS}},
		"no dialect":   {read(), iam.Limits{NotAfter: deadline()}},
		"bad network":  {read(), iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS, SourceCIDRs: []string{"0.0.0.0"}}},
		"complement":   {not, good},
		"foreign":      {sqs, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectMinIO}},
	} {
		if _, err := iam.Bind(c.p, c.l); !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{``, `{}`, `{"Version":"2012-10-17","Statement":[]}`, `{"Version":"2012-10-18","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Principal":"x"}]}`, `{"Statement":[{"Effect":"Allow","Action":[],"Resource":"*"}]}`,
		`{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}`, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]} {}`,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{}}}]}`, `{"Statement":[{"Effect":"Allow","Action":"","Resource":"*"}]}`} {
		if _, err := iam.Parse([]byte(s)); !errors.Is(err, iam.ErrPolicy) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if iam.Size(iam.Policy{}) != 0 {
		t.Error("an empty policy has a size")
	}
}

// What parses prints to a text that parses to itself, and binding it only adds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":"*","Condition":{"Bool":{"aws:x":["true"]}}}]}`))
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Action":"a","Resource":"\u2028<"}]}`))
	f.Add([]byte(full))
	f.Add([]byte(fullCanonical))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := iam.Parse(b)
		if err != nil {
			var syntax *iam.SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 {
				t.Fatalf("%v", err)
			}
			return
		}
		one, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		q, err := iam.Parse(one)
		if err != nil {
			t.Fatal(err)
		}
		if two, err := q.Marshal(); err != nil || !bytes.Equal(one, two) || !reflect.DeepEqual(q, p.Canonical()) {
			t.Fatalf("%s\n%s\n%v", one, two, err)
		}
		if bound, err := iam.Bind(p, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS}); err == nil && len(bound.Statements) <= len(p.Statements) {
			t.Fatal("Bind added nothing")
		}
	})
}
