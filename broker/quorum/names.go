package quorum

import (
	"slices"
	"strings"
	"unicode"
)

// word is one of a name or a text, in lower case.
type word struct {
	text string
	// domain is that of the address it stands in; empty for none.
	domain string
}

// wordsOf takes a name or a text apart at everything but letters and digits; of an
// address only the part before the @. What is said of people is read generously:
// "bob-laptop", "bob+ci" and "bob@example.com" all have the word bob. It may bar
// somebody by mistake, and lets nobody in.
func wordsOf(text string) (words []word) {
	between := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for part := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool {
		return between(r) && !strings.ContainsRune("._@+-", r)
	}) {
		local, domain, _ := strings.Cut(strings.Trim(part, "._@+-"), "@")
		for w := range strings.FieldsFuncSeq(local, between) {
			words = append(words, word{w, domain})
		}
	}
	return words
}

// same takes a word without a domain for any address that begins with it.
func same(a, b word) bool {
	return a.text == b.text && (a.domain == b.domain || a.domain == "" || b.domain == "")
}

// isIn says whether one of the person's names stands in a text of these words.
func (p *person) isIn(text []word) bool {
	return slices.ContainsFunc(p.names, func(name []word) bool {
		for i := range text {
			if len(text)-i >= len(name) && slices.EqualFunc(text[i:i+len(name)], name, same) {
				return true
			}
		}
		return false
	})
}

// isNamed says whether one of the person's names is this one.
func (p *person) isNamed(other []word) bool {
	return slices.ContainsFunc(p.names, func(name []word) bool { return slices.EqualFunc(name, other, same) })
}
