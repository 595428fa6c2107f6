package approvals

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// anyGroup is the one that everybody is in.
const anyGroup = "any"

// person is somebody whose approvals count.
type person struct {
	name   string
	groups []string
	ids    []string
	names  [][]word
	keys   []ssh.PublicKey
}

// add takes what one line of allowed_signers says of them.
func (p *person) add(principals []string, key ssh.PublicKey) error {
	p.keys = append(p.keys, key)
	for _, text := range principals {
		if group, ok := strings.CutPrefix(text, "@"); ok {
			if !groupName.MatchString(group) || group == anyGroup {
				return fmt.Errorf("%q is no group: want @ and %s, and everybody is in %q", text, groupName, anyGroup)
			}
			p.groups = append(p.groups, group)
			continue
		}
		if strings.HasPrefix(text, "spiffe://") {
			p.ids = append(p.ids, text)
			continue
		}
		name := wordsIn(text)
		if len(name) == 0 {
			return fmt.Errorf("the name %q has no letter and no digit", text)
		}
		p.names = append(p.names, name)
	}
	return nil
}

// isIn says whether the person is in a group.
func (p *person) isIn(group string) bool {
	return group == anyGroup || slices.Contains(p.groups, group)
}

// goesBy says whether a text is an ID of the person's, or holds a name of theirs: the
// broker reads names as generously, for it is told them by those who ask.
func (p *person) goesBy(text string) bool {
	if slices.Contains(p.ids, text) {
		return true
	}
	words := wordsIn(text)
	return slices.ContainsFunc(p.names, func(name []word) bool {
		for from := range words {
			if from+len(name) <= len(words) && slices.EqualFunc(name, words[from:from+len(name)], word.is) {
				return true
			}
		}
		return false
	})
}

// isNamed says whether one of the person's names is this one.
func (p *person) isNamed(other []word) bool {
	return slices.ContainsFunc(p.names, func(name []word) bool { return slices.EqualFunc(name, other, word.is) })
}

// word is one of a name, and the domain of the address that it stands in, if any.
type word struct{ text, domain string }

func (w word) is(other word) bool {
	return w.text == other.text && (w.domain == other.domain || w.domain == "" || other.domain == "")
}

// wordsIn are the runs of letters and digits of a text; of an address only those
// before the @.
func wordsIn(text string) (words []word) {
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	addresses := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !inWord(r) && !strings.ContainsRune("._@+-", r) })
	for _, address := range addresses {
		before, domain, _ := strings.Cut(strings.Trim(address, "._@+-"), "@")
		for _, run := range strings.FieldsFunc(before, func(r rune) bool { return !inWord(r) }) {
			words = append(words, word{run, domain})
		}
	}
	return words
}
