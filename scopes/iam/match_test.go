package iam

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

func TestPatterns(t *testing.T) {
	const page = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html"
	type table struct {
		pattern string
		yes, no []string
	}
	run := func(kind string, compile func(string) pattern, tables []table) {
		t.Run(kind, func(t *testing.T) {
			for _, c := range tables {
				p := compile(c.pattern)
				for _, s := range c.yes {
					if p.match(s, nil) != yes {
						t.Errorf("%q does not match %q", c.pattern, s)
					}
				}
				for _, s := range c.no {
					if p.match(s, nil) != no {
						t.Errorf("%q matches %q", c.pattern, s)
					}
				}
			}
		})
	}
	run("actions", actionPattern, []table{
		{"*", []string{"s3:GetObject"}, nil},
		{"S3:get*", []string{"s3:GetObject", "s3:GET"}, []string{"s3:PutObject", "s3:ge"}},
		{"s3:*Object", []string{"s3:GetObject", "s3:OBJECT"}, []string{"s3:GetObjects"}},
		{"s3:???Object", []string{"s3:GetObject"}, []string{"s3:DeleteObject"}},
		{"s3:GetObject", []string{"S3:getobject"}, []string{"s3:GetObjectAcl"}},
	})
	run("resources, "+page, func(s string) pattern {
		p, err := resourcePattern(s, true)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}, []table{
		{"*", []string{"*", "arn:aws:s3:::b"}, nil},
		{"arn:aws:s3:::b/*", []string{"arn:aws:s3:::b/", "arn:aws:s3:::b/x:y/z"}, []string{"arn:aws:s3:::b", "arn:aws:s3:::B/x"}},
		{"arn:aws:s3:::*/test/*", []string{"arn:aws:s3:::b/1///test///o", "arn:aws:s3:::b//test/o"}, []string{"arn:aws:s3:::b/1-test/o"}},
		{"arn:aws:sqs:*", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sns:us-east-1:1:q"}},
		{"arn:aws:iam::*:role/x", []string{"arn:aws:iam::1:role/x", "arn:aws:iam::1:user/y:role/x"}, []string{"arn:aws:iam::1:role/xx"}},
		{"arn:aws:sqs:us-*t-1:1:q", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sqs:us-a:t-1:1:q", "arn:aws:sqs:us-east-1:2:q"}},
		{"arn:aws:sqs:us?:1:q", []string{"arn:aws:sqs:usx:1:q"}, []string{"arn:aws:sqs:us::1:q"}},
		{"arn:aws:logs:r:1:log-group:?:*", []string{"arn:aws:logs:r:1:log-group:::x"}, []string{"arn:aws:logs:r:1:log-group:x"}},
		{"arn:aws:s3:::b/?", []string{"arn:aws:s3:::b/é", "arn:aws:s3:::b/\xff"}, []string{"arn:aws:s3:::b/éa"}},
		{"arn:aws:s3:::b/*??", []string{"arn:aws:s3:::b/é€"}, []string{"arn:aws:s3:::b/€"}},
		{"arn:aws:s3:::b/${*}${?}${$}", []string{"arn:aws:s3:::b/*?$"}, []string{"arn:aws:s3:::b/xy$"}},
	})
	run("ARN conditions", func(s string) pattern {
		p, err := arnPattern(s, true)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}, []table{
		{"arn:aws:iam::*:role/*", []string{"arn:aws:iam::1:role/a:b"}, []string{"arn:aws:iam::1:user:role/x"}},
		{"arn:*:s3:*:*:b", []string{"arn:aws-cn:s3:::b"}, []string{"arn:aws:s3:x:y:z:b"}},
		{"arn:aws:sqs:*", nil, []string{"arn:aws:sqs:us-east-1:1:q"}},
		{"*", nil, []string{"arn:aws:sqs:us-east-1:1:q"}},
	})
}

// The matcher goes back to two places only; the quadratic table of glob tries everything.
func FuzzMatchTokens(f *testing.F) {
	f.Add("a*b:?*", "axb:y")
	f.Add("*:*a*b:*", "a:ab:b")
	f.Add("arn:*:s*s:?:b*", "arn:aws:s:s3s:x:bb")
	f.Fuzz(func(t *testing.T, text, s string) {
		if len(text) > 40 || len(s) > 40 {
			return
		}
		for i := range len(s) {
			if s[i] >= 0x80 {
				return // glob's unit is the byte
			}
		}
		for _, compile := range []func(string, bool) (pattern, error){resourcePattern, arnPattern} {
			p, err := compile(text, false)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.match(s, nil) == yes, !p.never && reference(p.tokens).Match(s); got != want {
				t.Fatalf("%q and %q: %v, want %v", text, s, got, want)
			}
		}
	})
}

func reference(ts []token) glob.Pattern {
	var out glob.Pattern
	for _, t := range ts {
		hole := glob.Token{Hole: true, One: t.kind == tokenOne}
		if t.noColon {
			hole.Not = ":"
		}
		if t.kind == tokenLiteral {
			out = append(out, glob.Literal(t.text)...)
		} else {
			out = append(out, hole)
		}
	}
	return out
}
