package iam

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

func TestPatterns(t *testing.T) {
	const page = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html"
	type table struct {
		pattern string
		yes, no []string
		unsure  []string
	}
	run := func(kind string, compile func(string) pattern, tables []table) {
		t.Run(kind, func(t *testing.T) {
			for _, c := range tables {
				p := compile(c.pattern)
				for _, s := range c.yes {
					if a, _ := p.match(s, nil); a != yes {
						t.Errorf("%q does not match %q", c.pattern, s)
					}
				}
				for _, s := range c.no {
					if a, _ := p.match(s, nil); a != no {
						t.Errorf("%q matches %q", c.pattern, s)
					}
				}
				for _, s := range c.unsure {
					if a, _ := p.match(s, nil); a != unsure {
						t.Errorf("%q and %q: %d, not unsure", c.pattern, s, a)
					}
				}
			}
		})
	}
	run("actions", actionPattern, []table{
		{pattern: "*", yes: []string{"s3:GetObject"}},
		{"S3:get*", []string{"s3:GetObject", "s3:GET"}, []string{"s3:PutObject", "s3:ge"}, nil},
		{"s3:*Object", []string{"s3:GetObject", "s3:OBJECT"}, []string{"s3:GetObjects"}, nil},
		{"s3:???Object", []string{"s3:GetObject"}, []string{"s3:DeleteObject"}, nil},
		{"s3:GetObject", []string{"S3:getobject"}, []string{"s3:GetObjectAcl"}, nil},
	})
	run("resources, "+page, func(s string) pattern {
		p, err := resourcePattern(s, true, kindIdentity)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}, []table{
		{"*", []string{"*", "arn:aws:s3:::b"}, nil, nil},
		{"arn:aws:s3:::b/*", []string{"arn:aws:s3:::b/", "arn:aws:s3:::b/x:y/z"}, []string{"arn:aws:s3:::b", "arn:aws:s3:::B/x"}, nil},
		{"arn:aws:s3:::*/test/*", []string{"arn:aws:s3:::b/1///test///o", "arn:aws:s3:::b//test/o"}, []string{"arn:aws:s3:::b/1-test/o"}, nil},
		{"arn:aws:sqs:*", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sns:us-east-1:1:q"}, nil},
		{"arn:aws:iam::*:role/x", []string{"arn:aws:iam::1:role/x"}, []string{"arn:aws:iam::1:role/xx"}, []string{"arn:aws:iam::1:user/y:role/x"}},
		// Fewer than six fields.
		{"arn:aws:sqs", []string{"arn:aws:sqs:us-east-1:1:q", "arn:aws:sqs:::a:b"}, []string{"*", "arn:aws:sqsx:us-east-1:1:q"}, nil},
		{"arn:aws:sqs:us-east-1", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sqs:us-east-12:1:q"}, nil},
		{"arn:aws:sqs:us-*", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sqs:eu-west-1:1:q"}, nil},
		{"arn:aws:s3::b", nil, []string{"arn:aws:s3:::b", "arn:aws:s3::bb:x"}, nil},
		{"arn:*", []string{"arn:aws:sqs:us-east-1:1:q", "arn:aws-cn:s3:::b"}, []string{"*"}, nil},
		{"arn:aws:*:*:1", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sqs:us-east-1:2:q"}, []string{"arn:aws:sqs:us-east-1:2:1:q"}},
		{"arn:aws:s3:::*:*", []string{"arn:aws:s3:::a:b"}, []string{"arn:aws:s3:::ab"}, nil},
		{"arn:aws:lambda:r:1:function:f:$LATEST", nil, []string{"arn:aws:lambda:r:1:function:f:1"}, []string{"arn:aws:lambda:r:1:function:f:$LATEST"}},
		{"arn:aws:sqs:us-*t-1:1:q", []string{"arn:aws:sqs:us-east-1:1:q"}, []string{"arn:aws:sqs:us-a:t-1:1:q", "arn:aws:sqs:us-east-1:2:q"}, nil},
		{"arn:aws:sqs:us?:1:q", []string{"arn:aws:sqs:usx:1:q"}, []string{"arn:aws:sqs:us::1:q"}, nil},
		{"arn:aws:logs:r:1:log-group:?:*", []string{"arn:aws:logs:r:1:log-group:::x"}, []string{"arn:aws:logs:r:1:log-group:x"}, nil},
		{"arn:aws:s3:::b/?", []string{"arn:aws:s3:::b/é", "arn:aws:s3:::b/\xff"}, []string{"arn:aws:s3:::b/éa"}, nil},
		{"arn:aws:s3:::b/*??", []string{"arn:aws:s3:::b/é€"}, []string{"arn:aws:s3:::b/€"}, nil},
		{"arn:aws:s3:::b/${*}${?}${$}", []string{"arn:aws:s3:::b/*?$"}, []string{"arn:aws:s3:::b/xy$"}, nil},
	})
	run("ARN conditions", func(s string) pattern {
		p, err := arnPattern(s, true)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}, []table{
		{"arn:aws:iam::*:role/*", []string{"arn:aws:iam::1:role/a:b"}, []string{"arn:aws:iam::1:user:role/x"}, nil},
		{"arn:*:s3:*:*:b", []string{"arn:aws-cn:s3:::b"}, []string{"arn:aws:s3:x:y:z:b"}, nil},
		{"arn:aws:sqs:*", nil, []string{"arn:aws:sns:us-east-1:1:q"}, []string{"arn:aws:sqs:us-east-1:1:q"}},
		{"*", nil, nil, []string{"arn:aws:sqs:us-east-1:1:q"}},
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
		compilers := []func(string) (pattern, error){
			func(text string) (pattern, error) { return resourcePattern(text, false, kindIdentity) },
			func(text string) (pattern, error) { return arnPattern(text, false) },
		}
		for _, compile := range compilers {
			p, err := compile(text)
			if err != nil {
				continue
			}
			want := no
			switch {
			case reference(p.tokens).Match(s):
				want = yes
			case reference(p.widened().tokens).Match(s):
				want = unsure
			}
			if p.open {
				want = want.and(unsure)
			}
			if got, _ := p.match(s, nil); got != want {
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

// The matcher looks for what follows a star at once; trying every place gives the same, whatever bytes there are.
func TestMatchTokensTriesEverything(t *testing.T) {
	matched := 0
	for seed := range uint64(200_000) {
		g := rand.New(rand.NewPCG(seed, 47))
		word := func(n int) string {
			var b strings.Builder
			for range n {
				b.WriteString([]string{"a", "b", ":", "A", "\xc3\xa9", "\xa9", "\xc3", "\u20ac"}[g.IntN(4+g.IntN(5))])
			}
			return b.String()
		}
		var ts []token
		narrow := g.IntN(7) // how many tokens stand before the last field
		for i := range g.IntN(6) {
			switch k := tokenKind(g.IntN(3)); k {
			case tokenLiteral:
				ts = append(ts, token{text: word(1 + g.IntN(2))})
			default:
				ts = append(ts, token{kind: k, noColon: i < narrow, ends: i < narrow && g.IntN(2) == 0})
			}
		}
		text, fold, cross := word(g.IntN(8)), g.IntN(4) == 0, g.IntN(2) == 0
		if fold {
			for i := range ts {
				ts[i].text = asciiLower(ts[i].text)
			}
		}
		want := matchEverywhere(ts, text, fold, cross)
		if got := matchTokens(ts, text, fold, cross); got != want {
			t.Fatalf("%+v and %q, fold %v, cross %v: %v", ts, text, fold, cross, got)
		}
		if want {
			matched++
		}
	}
	if matched < 10_000 {
		t.Errorf("only %d matched", matched)
	}
}

func matchEverywhere(ts []token, s string, fold, cross bool) bool {
	if len(ts) == 0 {
		return s == ""
	}
	t := ts[0]
	switch {
	case t.kind == tokenLiteral:
		return hasPrefix(s, t.text, fold) && matchEverywhere(ts[1:], s[len(t.text):], fold, cross)
	case t.kind == tokenMany && matchEverywhere(ts[1:], s, fold, cross):
		return true
	case s == "" || (s[0] == ':' && t.noColon && (t.kind == tokenOne || !cross || !t.ends)):
		return false
	case t.kind == tokenOne:
		return matchEverywhere(ts[1:], s[width(s):], fold, cross)
	}
	return matchEverywhere(ts, s[width(s):], fold, cross)
}
