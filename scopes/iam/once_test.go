package iam_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/internal/glob"
	"github.com/valetkey/valetkey/scopes/jcs"
)

// oddTexts are put where a policy has a text: what AWS refuses, what a writer escapes, what is out of order.
var oddTexts = []string{"", "*", "**", "arn", "arn:aws", "arn:aws:s3:::b/${aws:username}", "arn:aws:s3:::b/${aws:x", "arn:aws:s3:::b/$x*", "arn:aws:*:::b",
	"arn:aws:sqs:*", "arn:aws2:s3:::b", "arn:aws:s3:::b/<&>\"\\", "arn:aws:s3:::b/é\u2028\U0001f511", "\xff", "arn:aws:s3:::\xff", "s3:GetObject", "S3:Get*", "x",
	"arn:aws:iam::${aws:x}:role/r", "arn:aws:s3:::b/${*}${?}${$}", "${aws:username}", "${", "true", "2026", "2026-01-01", "10.0.0.0/8", "10.0.0.1/8", "-1.50", "a"}

// disturbed changes some texts, operators and keys of a policy.
func disturbed(g *rand.Rand, p iam.Policy) iam.Policy {
	p = p.Clone()
	odd := func(list []string) []string {
		if len(list) > 0 && g.IntN(6) == 0 {
			list = append(list, pick(g, oddTexts...))
		}
		g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	}
	p.Version = pick(g, "", iam.Version, iam.Version, iam.Version2008, "2026")
	if g.IntN(8) == 0 {
		p.ID = pick(g, oddTexts...)
	}
	for i := range p.Statements {
		s := &p.Statements[i]
		s.Action, s.NotAction, s.Resource, s.NotResource = odd(s.Action), odd(s.NotAction), odd(s.Resource), odd(s.NotResource)
		switch g.IntN(12) {
		case 0:
			s.Sid = pick(g, "a", "a", "b", "é", "\xff")
		case 1:
			s.Principal = map[string][]string{pick(g, "*", "AWS", "x"): {pick(g, "*", "", "111122223333")}}
		case 2:
			s.Effect = "allow"
		case 3:
			s.NotAction = []string{"s3:GetObject"}
		case 4:
			s.Condition = map[string]map[string][]string{pick(g, "StringEquals", "stringequals", "Nonsense", "NullIfExists"): {}}
		}
		for op, keys := range s.Condition {
			for key := range keys {
				keys[key] = odd(keys[key])
			}
			switch g.IntN(12) {
			case 0:
				keys[pick(g, "", "x", ":x", "x:é\U0001f511", "X:K", "x:\xff")] = []string{pick(g, oddTexts...)}
			case 1:
				s.Condition[strings.ToLower(op)] = keys
			}
		}
	}
	return p
}

// What is checked without being compiled is refused where compiling refuses it, in the same words.
func TestCheckIsCompile(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(20_000) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 41)), variables: seed%2 == 0}
		p := disturbed(g.r, g.policy(1+g.r.IntN(3)))
		for k, errs := range iam.CheckAndCompile(p) {
			if fmt.Sprint(errs[0]) != fmt.Sprint(errs[1]) {
				t.Fatalf("%+v of kind %d: checked %v, compiled %v", p, k, errs[0], errs[1])
			}
			if errs[0] != nil {
				seen["refused"]++
			} else {
				seen["taken"]++
			}
		}
	}
	if seen["refused"] < 10_000 || seen["taken"] < 10_000 {
		t.Error(seen)
	}
}

// A policy has one text, whatever order it is in, and printing leaves it as it is.
func TestPrintIsOfTheCanonicalPolicy(t *testing.T) {
	printed := 0
	for seed := range uint64(10_000) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 42)), variables: true}
		p := disturbed(g.r, g.policy(1+g.r.IntN(3)))
		before := p.Clone()
		text, err := p.Marshal()
		if !reflect.DeepEqual(before, p) {
			t.Fatalf("printing made %+v of %+v", p, before)
		}
		if err != nil {
			continue
		}
		printed++
		again, err := p.Canonical().Marshal()
		if err != nil || !bytes.Equal(text, again) {
			t.Fatalf("%s\n%s, %v", text, again, err)
		}
		if p.ValidateSession() == nil && iam.Size(p) != len(text) {
			t.Fatalf("%d characters: %s", iam.Size(p), text)
		}
	}
	if printed < 1500 {
		t.Errorf("only %d printed", printed)
	}
}

// A session policy's RFC 8785 form is what that of its text is.
func TestAppendSessionJCS(t *testing.T) {
	printed, odd := 0, 0
	for seed := range uint64(10_000) {
		g := &generator{r: rand.New(rand.NewPCG(seed, 43)), variables: true}
		p := disturbed(g.r, g.policy(1+g.r.IntN(3)))
		got, err := p.AppendSessionJCS([]byte("x"))
		if refused := p.ValidateSession(); fmt.Sprint(refused) != fmt.Sprint(err) {
			t.Fatalf("%v, where ValidateSession says %v", err, refused)
		}
		if err != nil {
			continue
		}
		printed++
		want, err := jcs.Marshal(p)
		if err != nil || string(got) != "x"+string(want) {
			t.Fatalf("got  %s\nwant x%s, %v", got, want, err)
		}
		if bytes.ContainsFunc(want, func(r rune) bool { return r > '~' }) {
			odd++
		}
	}
	if printed < 1000 || odd < 50 {
		t.Errorf("only %d printed, %d of them odd", printed, odd)
	}
}

// Binding and printing in one gives the text of the bound policy, which is well-formed, and binding shares nothing.
func TestBindTextIsBindAndMarshal(t *testing.T) {
	bound := map[iam.Dialect]int{}
	for seed := range uint64(4000) {
		g := rand.New(rand.NewPCG(seed, 44))
		p := randomAllows(g)
		l := iam.Limits{NotAfter: deadline(), Dialect: pick(g, iam.Dialects()...)}
		if l.Dialect != iam.DialectAWS {
			p = iam.Policy{Statements: []iam.Statement{}}
			for range 1 + g.IntN(3) {
				p.Statements = append(p.Statements, iam.Statement{Effect: iam.Allow, Action: []string{pick(g, "s3:PutObject", "s3:GetObject"), pick(g, "s3:ListBucket", "s3:GetObject")},
					Resource: []string{pick(g, "*", "arn:aws:s3:::b/*", "arn:aws:s3:::c"), pick(g, "arn:aws:s3:::b/*", "arn:aws:s3:::a")}})
			}
		}
		if g.IntN(3) == 0 && !l.Dialect.Believes() {
			l.SourceCIDRs = []string{"203.0.113.0/24"}
		}
		if g.IntN(3) == 0 && l.Dialect == iam.DialectAWS {
			l.Regions = []string{pick(g, "eu-west-1", "us-east-1")}
		}
		before := p.Clone()
		b, err := iam.Bind(p, l)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		want, err := b.Marshal()
		if err != nil || b.ValidateSession() != nil {
			t.Fatalf("%+v: %v, %v", b, err, b.ValidateSession())
		}
		got, err := iam.BindText(p, l)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got  %s, %v\nwant %s", got, err, want)
		}
		if n, err := iam.BoundSize(p, l); err != nil || n != len(want) || n != iam.Size(b) {
			t.Fatalf("%d characters, %v: %s", n, err, want)
		}
		for i := range b.Statements {
			s := &b.Statements[i]
			for _, list := range [][]string{s.Action, s.NotAction, s.Resource, s.NotResource} {
				for j := range list {
					list[j] = "changed"
				}
			}
		}
		if again, err := iam.BindText(p, l); err != nil || !bytes.Equal(again, want) || !reflect.DeepEqual(before, p) {
			t.Fatalf("a change of the bound policy made %s of %s, %v", again, want, err)
		}
		bound[l.Dialect]++
	}
	for _, d := range iam.Dialects() {
		if bound[d] < 500 {
			t.Errorf("only %d bound for %s", bound[d], d)
		}
	}
	refused := iam.Policy{Statements: []iam.Statement{{Effect: iam.Deny, Action: []string{"*"}, Resource: []string{"*"}}}}
	if _, err := iam.BindText(refused, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS}); err == nil {
		t.Error("an empty policy is printed")
	}
	if n, err := iam.BoundSize(refused, iam.Limits{NotAfter: deadline(), Dialect: iam.DialectAWS}); err == nil || n != 0 {
		t.Errorf("an empty policy has %d characters, %v", n, err)
	}
}

// What Allows name together is the same, whether it is found by statement or by action.
func TestGrantedByActionIsGranted(t *testing.T) {
	shared := 0
	for seed := range uint64(5000) {
		g := rand.New(rand.NewPCG(seed, 45))
		p := randomAllows(g)
		fast, slow, err := iam.GrantedBoth(p)
		if err != nil || fmt.Sprint(fast) != fmt.Sprint(slow) {
			t.Fatalf("%+v\n%v\n%v, %v", p, fast, slow, err)
		}
		if len(fast) > 1 {
			shared++
		}
	}
	if shared < 500 {
		t.Errorf("only %d with several pairs", shared)
	}
}

// Two patterns of actions meet where their automata do.
func TestMeet(t *testing.T) {
	met := 0
	for seed := range uint64(50_000) {
		g := rand.New(rand.NewPCG(seed, 46))
		word := func() string {
			var b strings.Builder
			for range g.IntN(6) {
				b.WriteString(pick(g, "a", "A", "b", "*", "?"))
			}
			return "s:" + b.String()
		}
		x, y := word(), word()
		want := glob.Overlap(glob.Wild(strings.ToLower(x)), glob.Wild(strings.ToLower(y)))
		if got := iam.Meet(x, y); got != want {
			t.Fatalf("%q and %q: %v", x, y, got)
		}
		if want {
			met++
		}
	}
	if met < 5000 {
		t.Errorf("only %d met", met)
	}
}
