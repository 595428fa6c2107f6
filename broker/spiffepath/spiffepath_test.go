package spiffepath

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestTemplateErrors(t *testing.T) {
	for _, text := range []string{
		"", "agent", "/", "//", "/agent/", "/agent//x", "/./x", "/../x", "/a b", "/agent/*",
		"/{", "/}", "/{}", "/{a", "/a}", "/{a}b", "/x{a}", "/{a}{b}", "/{A}", "/{1a}", "/{a-b}", "/{a b}",
		"/{" + strings.Repeat("a", 65) + "}",
		"/{a}/{a}", "/é", "/a%20b", "/a\n", "/{a\n}",
		"spiffe://", "spiffe://example.org", "spiffe:///a", "spiffe://EXAMPLE.org/a", "spiffe://example.org/",
		"http://example.org/a",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("template %q was accepted", text)
		}
	}
}

// FuzzTemplate holds the rule that a template matches whole segments: filling in
// its attributes gives an ID that it matches with just those values, and one
// more or one less segment never matches.
func FuzzTemplate(f *testing.F) {
	f.Add("/agent/{user}/{session}", "ann")
	f.Add("spiffe://example.org/{a}", "b.c-d_e")
	f.Add("/a/{b}/c", "..")
	f.Add("/a/{b}/c", "x/y")
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	f.Fuzz(func(t *testing.T, text, value string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		var segments []string
		attributes := 0
		for _, s := range parsed.segments {
			if s.attribute == "" {
				segments = append(segments, s.literal)
				continue
			}
			attributes++
			segments = append(segments, value)
		}
		id, err := spiffeid.FromSegments(domain, segments...)
		if err != nil {
			return
		}
		got, ok := parsed.Match(id)
		if bound := !parsed.trustDomain.IsZero() && parsed.trustDomain != domain; ok == bound {
			t.Fatalf("template %q, ID %q: match %v", text, id, ok)
		}
		if ok && len(got) != attributes {
			t.Fatalf("template %q, ID %q: attributes %v, want %d", text, id, got, attributes)
		}
		for name, v := range got {
			if v != value || strings.Contains(v, "/") {
				t.Fatalf("template %q, ID %q: %s is %q", text, id, name, v)
			}
		}
		longer, err := id.AppendSegments("x")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := parsed.Match(longer); ok {
			t.Fatalf("template %q matches %q", text, longer)
		}
		if _, ok := parsed.Match(domain.ID()); ok {
			t.Fatalf("template %q matches an empty path", text)
		}
	})
}
