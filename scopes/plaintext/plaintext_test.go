package plaintext_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/valetkey/valetkey/scopes/plaintext"
)

// TestProperties holds every code point against Unicode's own properties.
func TestProperties(t *testing.T) {
	visible := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		got := plaintext.Visible(r)
		if got {
			visible++
		}
		hidden := r != ' ' && unicode.In(r, unicode.White_Space, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp, unicode.Zs,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Pattern_White_Space, unicode.Noncharacter_Code_Point, unicode.Join_Control,
			unicode.Bidi_Control)
		assigned := unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.C)
		if got && (hidden || !assigned) {
			t.Errorf("%U is taken for visible", r)
		}
		if s := string(r); got && plaintext.Clean(s) != s {
			t.Errorf("%U is changed", r)
		}
	}
	if visible < 140_000 {
		t.Errorf("%d characters are visible", visible)
	}
}

func TestHidden(t *testing.T) {
	for name, r := range map[string]rune{
		"Hangul filler": 0x3164, "Hangul choseong filler": 0x115F, "Hangul jungseong filler": 0x1160, "halfwidth Hangul filler": 0xFFA0,
		"Braille blank": 0x2800, "variation selector 16": 0xFE0F, "variation selector 17": 0xE0100, "Mongolian variation selector": 0x180B,
		"grapheme joiner": 0x034F, "Khmer inherent vowel": 0x17B4, "zero width space": 0x200B, "joiner": 0x200D, "word joiner": 0x2060, "byte order mark": 0xFEFF,
		"soft hyphen": 0xAD, "right-to-left override": 0x202E, "isolate": 0x2066, "tag A": 0xE0041, "no-break space": 0xA0, "ideographic space": 0x3000, "Ogham space": 0x1680,
		"line separator": 0x2028, "next line": 0x85, "CSI": 0x9B, "delete": 0x7F, "escape": 0x1B, "NUL": 0, "private use": 0xE000, "not assigned": 0x0378, "noncharacter": 0xFFFE,
		"null notehead": 0x1D159, "musical beam": 0x1D173, "Khitan filler": 0x16FE4, "Egyptian blank": 0x13441, "object replacement": 0xFFFC, "replacement": 0xFFFD,
		"surrogate as it comes": 0xFFFD,
	} {
		s := "a" + string(r) + "b"
		if plaintext.Line(s) == nil || plaintext.Prose(s) == nil {
			t.Errorf("%s (%U) is let in", name, r)
		}
		if c := plaintext.Clean(s); plaintext.Line(strings.ReplaceAll(c, "\uFFFD", "?")) != nil || len([]rune(c)) != 3 {
			t.Errorf("%s (%U) is cleaned to %q", name, r, c)
		}
	}
	for _, s := range []string{"a\nb", "a\tb"} {
		if plaintext.Line(s) == nil || plaintext.Prose(s) != nil {
			t.Errorf("%q", s)
		}
	}
	if plaintext.Prose("a\r\nb") != nil || plaintext.Prose("a\rb") == nil {
		t.Error("a carriage return alone hides what is before it")
	}
	if plaintext.Line("a\xffb") == nil {
		t.Error("text that is not UTF-8 is let in")
	}
	for _, s := range []string{"", "a b", "Zoë müßte 東京 привет हिन्दी 한글 ✔ 🙂 — „x“"} {
		if err := plaintext.Line(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}
