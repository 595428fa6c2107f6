package approval

import (
	"slices"
	"strings"
	"unicode"
)

// wordsOf are the words of a name or a text, in lower case: what stands between
// anything but letters, digits and ._@+-, without these at either end, and
// without the "+tag" of an address. What an agent says of people is read
// generously: it may bar somebody by mistake, and lets nobody in.
func wordsOf(text string) (words []string) {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._@+-", r)
	}) {
		word = strings.Trim(word, "._@+-")
		local, domain, address := strings.Cut(word, "@")
		local, _, _ = strings.Cut(local, "+")
		if address {
			local += "@" + domain
		}
		if local != "" {
			words = append(words, local)
		}
	}
	return words
}

// isIn says whether one of the person's names stands in a text of these words.
func (p *person) isIn(text []string) bool {
	return slices.ContainsFunc(p.names, func(name []string) bool {
		for i := range text {
			if len(text)-i >= len(name) && slices.EqualFunc(text[i:i+len(name)], name, sameWord) {
				return true
			}
		}
		return false
	})
}

// sameWord takes an address and its local part for the same: "bob" and
// "bob@example.com".
func sameWord(a, b string) bool {
	localA, _, addressA := strings.Cut(a, "@")
	localB, _, addressB := strings.Cut(b, "@")
	return a == b || localA == localB && addressA != addressB
}
