// Package plaintext says which text is what a reader sees: whoever writes a name or a
// reason for people to read, or for programs to compare, hides nothing in it.
//
// A character is visible by its Unicode properties, never by a list of bad ones: it is a
// letter, a mark, a number, punctuation, a symbol, or the space, and is neither ignored
// by whoever draws it (Default_Ignorable_Code_Point) nor drawn as a blank. So control
// and format characters, other white space, private use, what is not assigned, variation
// selectors and the Hangul fillers are not, and neither is U+FFFD, which stands for what
// could not be read.
//
// It has no look-alikes in mind: two visible texts can look the same.
package plaintext

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// blanks are drawn as nothing though no property says so: their names do.
var blanks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x2800, Hi: 0x2800, Stride: 1}, // BRAILLE PATTERN BLANK
		{Lo: 0xFFFC, Hi: 0xFFFD, Stride: 1}, // OBJECT REPLACEMENT CHARACTER, REPLACEMENT CHARACTER
	},
	R32: []unicode.Range32{
		{Lo: 0x13441, Hi: 0x13446, Stride: 1}, // EGYPTIAN HIEROGLYPH FULL BLANK, HALF BLANK, LOST SIGN and the like
		{Lo: 0x16FE4, Hi: 0x16FE4, Stride: 1}, // KHITAN SMALL SCRIPT FILLER
		{Lo: 0x1D159, Hi: 0x1D159, Stride: 1}, // MUSICAL SYMBOL NULL NOTEHEAD
	},
}

// Visible says whether a reader sees the character.
func Visible(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r <= '~'
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) &&
		// Default_Ignorable_Code_Point less what is of no category above (UAX #44, DerivedCoreProperties.txt).
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.White_Space, blanks)
}

// Line is an error where text has a character that no reader sees, so that it is not one
// line. The error names the character and not the text.
func Line(s string) error { return check(s, "") }

// Prose is Line for text of several lines, which tabs may indent.
func Prose(s string) error { return check(strings.ReplaceAll(s, "\r\n", "\n"), "\n\t") }

func check(s, also string) error {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return fmt.Errorf("text that is not UTF-8 at byte %d", i)
			}
		}
		if !Visible(r) && !strings.ContainsRune(also, r) {
			return fmt.Errorf("the character %U at byte %d, which nobody sees", r, i)
		}
	}
	return nil
}

// Clean is text for a terminal, a log or a model, whoever wrote it: one line, in which
// control characters and white space are spaces, and what nobody sees is U+FFFD. Nothing is
// dropped: two halves do not meet.
func Clean(s string) string { return strings.Map(clean, s) }

// CleanProse is Clean for text of several lines.
func CleanProse(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return clean(r)
	}, s)
}

func clean(r rune) rune {
	switch {
	case Visible(r):
		return r
	case unicode.IsControl(r), unicode.IsSpace(r):
		return ' '
	}
	return unicode.ReplacementChar
}
