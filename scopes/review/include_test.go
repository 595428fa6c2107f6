package review

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

func TestBeyond(t *testing.T) {
	for _, k := range []struct {
		wide, narrow, text string
		ok                 bool
	}{
		{"[a-z]{3,8}", "[a-z]{3,8}", "", true},
		{"[a-c]+", "[a-z]+", "", true},
		{"[a-z]+", "[a-c]+", "d", true},
		{"a|b", "b|a", "", true},
		{"(ab)*", "(ab)+", "", true}, // the empty text is no value
		{"^team-[a-z]+$", "team-.*", "", true},
		{"team-.*", "team-[a-z]+", "team-", true},
		{"(?i)abc", "abc", "abC", true},
		{`x\by`, "x", "", false},
		{".*", `[^*]*`, "", true}, // no value has a "*"
		{"a{1,3}", "a{1,2}", "aaa", true},
		{"a$^", "b", "", true}, // it matches nothing
		{"a", "a$^", "a", true},
		{"a|b", "a|(?:b$)^", "b", true},
	} {
		text, ok := beyond(k.wide, k.narrow)
		if ok != k.ok || (text == "") != (k.text == "") || len(text) != len(k.text) {
			t.Errorf("beyond(%q, %q) = %q, %v; want %q, %v", k.wide, k.narrow, text, ok, k.text, k.ok)
		}
	}
}

// What beyond says is held against the matcher itself: a text it returns tells the two apart, and where it returns
// none, no text of the wide one does.
func TestBeyondAgainstRegexp(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "[a-b]", "[^a]", ".", "a?", "b*", "(ab)+", "(a|bc)", "x{1,2}", "(?i:a)", "^", "$", "-"})
	rapid.Check(t, func(t *rapid.T) {
		make := func(name string) string {
			out := ""
			for _, p := range rapid.SliceOfN(piece, 1, 4).Draw(t, name) {
				out += p
			}
			return out
		}
		wide, narrow := make("wide"), make("narrow")
		w, n := regexp.MustCompile(`\A(?:`+wide+`)\z`), regexp.MustCompile(`\A(?:`+narrow+`)\z`)
		text, ok := beyond(wide, narrow)
		if !ok {
			t.Fatalf("beyond(%q, %q) gave up", wide, narrow)
		}
		if text != "" && (!w.MatchString(text) || n.MatchString(text)) {
			t.Fatalf("beyond(%q, %q) = %q, which does not tell them apart", wide, narrow, text)
		}
		probe := rapid.StringMatching(`[abcxAy-]{1,6}`).Draw(t, "probe")
		if text == "" && w.MatchString(probe) && !n.MatchString(probe) {
			t.Fatalf("beyond(%q, %q) found nothing, but %q tells them apart", wide, narrow, probe)
		}
	})
}
