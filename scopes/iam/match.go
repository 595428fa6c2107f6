package iam

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenKind says what a token takes from a text.
type tokenKind uint8

const (
	tokenLiteral  tokenKind = iota // exactly text
	tokenOne                       // "?": one character
	tokenMany                      // "*": any characters, none among them
	tokenVariable                  // a policy variable: its value in the request, literally
)

// token is one part of a compiled pattern. A pattern with no tokenVariable is a set of texts; with one, it is such a
// set for each request.
type token struct {
	kind    tokenKind
	noColon bool      // tokenOne, tokenMany: takes no ":"
	ends    bool      // tokenMany with noColon: it ends its field of a resource, so that it may take ":" after all
	text    string    // tokenLiteral: never empty, wildcard characters in it stand for themselves
	v       *variable // tokenVariable
}

// pattern is one compiled value of Action, Resource, or of a string or ARN condition.
//
//	kind of pattern   wildcards                       variables   case
//	action            all                             none        ignored (ASCII)
//	resource          see resourcePattern             after ":"5  counts
//	StringEquals      none                            all         counts, or ignored (Unicode folding)
//	StringLike        all                             all         counts
//	ArnLike, ArnEquals within their segment           all         counts
type pattern struct {
	// The two shapes that most patterns have, so that they need no loop over tokens.
	exact  bool // head is the whole text
	prefix bool // head, then anything
	fold   bool // ASCII case is ignored

	arn     bool   // of ArnEquals and its kin: its fields are told after the variables are known
	never   bool   // matches no text at all
	vars    bool   // has a tokenVariable
	early   bool   // a variable stands before the fifth colon of a resource: it is open whatever its value is
	open    bool   // whether it matches what it says is on no page of AWS: a match is unsure
	crosses bool   // of a resource: some "*" ends its field
	head    string // of the two shapes; lower case where fold is set
	also    string // one more text that it takes, as server.adapt says; empty for none; lower case where fold is set

	source string
	tokens []token
	colons int // of a resource that crosses: how many colons the literals have
}

// finish works out the shape of a pattern whose tokens are complete.
func (p *pattern) finish() {
	for i := range p.tokens {
		if p.tokens[i].kind == tokenVariable {
			p.vars = true
			return
		}
	}
	ts := p.tokens
	switch {
	case len(ts) == 0:
		p.exact = true
	case len(ts) == 1 && ts[0].kind == tokenLiteral:
		p.exact, p.head = true, ts[0].text
	case len(ts) == 1 && ts[0].kind == tokenMany && !ts[0].noColon:
		p.prefix = true
	case len(ts) == 2 && ts[0].kind == tokenLiteral && ts[1].kind == tokenMany && !ts[1].noColon:
		p.prefix, p.head = true, ts[0].text
	}
}

// actionPattern compiles an action into p, which is zero. IAM ignores the case of actions and has no variables in them
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html).
func (m *memory) actionPattern(p *pattern, text string) {
	p.source, p.fold = text, true
	text = m.lowered(text)
	if n := plainLength(text); n == len(text) || text[n:] == "*" {
		m.ending(p, text[:n], n < len(text))
		return
	}
	p.tokens = m.keep(appendText(m.tokens(), text, true))
	p.finish()
}

func actionPattern(text string) (p pattern) {
	new(memory).actionPattern(&p, text)
	return p
}

// checkAction refuses what is no action of a policy. AWS refuses one without a service ("Actions/Conditions must be
// prefaced by a vendor") and a wildcard in it ("Action vendors must not contain wildcards"). No action has another
// character in its name, so that one is a placeholder or a slip.
func checkAction(text string) error {
	service, name, ok := strings.Cut(text, ":")
	if text == "*" || (ok && service != "" && name != "" && madeOf(service, "-") && madeOf(name, "*?_-")) {
		return nil
	}
	return fmt.Errorf(`%w: action %q is neither "*" nor service:Name, such as s3:GetObject or s3:Get*`, ErrPolicy, text)
}

// madeOf tells whether a text has nothing but ASCII letters, digits and the characters of more.
func madeOf(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// stringPattern compiles a value of a string condition; wild is for StringLike and its kin.
func stringPattern(text string, variables, wild bool) (pattern, error) {
	ts, err := tokens(nil, text, variables, wild)
	p := pattern{source: text, tokens: ts, open: variables && bareDollar(text)}
	p.finish()
	return p, err
}

// takes tells whether a pattern of actions has an action.
func (p *pattern) takes(action string) bool {
	switch {
	case p.exact && len(action) == len(p.head) && hasPrefixFold(action, p.head), p.prefix && hasPrefixFold(action, p.head):
		return true
	case !p.exact && !p.prefix && matchTokens(p.tokens, action, true, false):
		return true
	}
	return p.also != "" && len(action) == len(p.also) && hasPrefixFold(action, p.also)
}

// match tells whether the text matches, with the variables of the request, and what became of them.
func (p *pattern) match(text string, env *environment) (answer, resolution) {
	var a answer
	switch {
	case p.also != "" && len(text) == len(p.also) && hasPrefix(text, p.also, p.fold):
		return yes, resolved
	case p.never:
	case p.exact:
		a = is(len(text) == len(p.head) && hasPrefix(text, p.head, p.fold))
	case p.prefix:
		a = is(hasPrefix(text, p.head, p.fold))
	case !p.vars:
		a = p.walk(p.tokens, text)
	default:
		return p.resolve(text, env)
	}
	if p.open {
		a = a.and(unsure)
	}
	return a, resolved
}

// resolve is match for a pattern with variables.
func (p *pattern) resolve(text string, env *environment) (answer, resolution) {
	var room [8]token
	ts, r := env.substitute(room[:0], p)
	if r == valueless {
		return no, r
	}
	open := p.open || r != resolved
	if p.arn {
		ts, open = separate(ts, open)
	}
	a := p.walk(ts, text)
	if open {
		a = a.and(unsure)
	}
	return a, r
}

// walk matches tokens without variables: for sure, or if a "*" that ends its field goes on across its colon. It cannot
// where the text has no more colons than the pattern.
func (p *pattern) walk(ts []token, text string) answer {
	switch {
	case matchTokens(ts, text, p.fold, false):
		return yes
	case p.crosses && strings.Count(text, ":") > p.colons && matchTokens(ts, text, p.fold, true):
		return unsure
	}
	return no
}

// matchTokens matches tokens without variables. Two places to go back to are enough: a star that takes no colon moves
// within one segment, so once it fails only a star that crosses segments can help.
//
// With cross, a star that ends its field takes colons.
func matchTokens(ts []token, s string, fold, cross bool) bool {
	i, pos := 0, 0
	star, starPos := -1, 0 // the last star, and where what follows it was tried
	wide, widePos := -1, 0 // the last star that takes colons
	for {
		if i == len(ts) {
			if pos == len(s) {
				return true
			}
		} else {
			t := &ts[i]
			switch t.kind {
			case tokenMany:
				star = i
				if t.crosses(cross) {
					wide, widePos = i, pos
				}
				if to, ok := t.reach(ts[i+1:], s, pos, fold, cross); ok {
					pos, starPos = to, to
					if star == wide {
						widePos = to
					}
					i++
					continue
				}
				starPos = len(s) // it reaches nothing that could follow
			case tokenOne:
				if pos < len(s) && (!t.noColon || s[pos] != ':') {
					pos += width(s[pos:])
					i++
					continue
				}
			default:
				if hasPrefix(s[pos:], t.text, fold) {
					pos += len(t.text)
					i++
					continue
				}
			}
		}
		for {
			switch {
			case star >= 0 && starPos < len(s) && (s[starPos] != ':' || ts[star].crosses(cross)):
				starPos += width(s[starPos:])
			case wide >= 0 && star != wide && widePos < len(s):
				widePos += width(s[widePos:])
				star, starPos = wide, widePos
			default:
				return false
			}
			to, ok := ts[star].reach(ts[star+1:], s, starPos, fold, cross)
			if ok {
				starPos = to
				break
			}
			starPos = len(s)
		}
		if star == wide {
			widePos = starPos
		}
		i, pos = star+1, starPos
	}
}

// crosses tells whether a star takes colons.
func (t *token) crosses(cross bool) bool { return !t.noColon || (cross && t.ends) }

// reach returns the first place, at or after pos, at which what follows a star may begin. It returns false where there
// is none.
func (t *token) reach(next []token, s string, pos int, fold, cross bool) (int, bool) {
	to := pos
	switch {
	case len(next) == 0:
		to = len(s)
	case next[0].kind == tokenLiteral && !fold && utf8.RuneStart(next[0].text[0]): // else it could be found inside of a character
		at := strings.Index(s[pos:], next[0].text)
		if at < 0 {
			return pos, false
		}
		to += at
	}
	return to, t.crosses(cross) || strings.IndexByte(s[pos:to], ':') < 0
}

// width is the length of the first character in bytes; a byte that is no UTF-8 is one character.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// hasPrefix is strings.HasPrefix; with fold, prefix is lower case and the ASCII case of s does not count.
func hasPrefix(s, prefix string, fold bool) bool {
	if len(s) < len(prefix) {
		return false
	}
	if !fold {
		return s[:len(prefix)] == prefix
	}
	return hasPrefixFold(s, prefix)
}

// hasPrefixFold is hasPrefix with fold.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if c := s[i]; c != prefix[i] && lower(c) != prefix[i] {
			return false
		}
	}
	return true
}

// asciiLower is strings.ToLower for the letters A to Z alone.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
