package iam

import (
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
	text    string    // tokenLiteral: never empty, wildcard characters in it stand for themselves
	v       *variable // tokenVariable
}

// pattern is one compiled value of Action, Resource, or of a string or ARN condition.
//
//	kind of pattern   wildcards                       variables   case
//	action            all                             none        ignored (ASCII)
//	resource          see resourcePattern             all         counts
//	StringEquals      none                            all         counts, or ignored (Unicode folding)
//	StringLike        all                             all         counts
//	ArnLike, ArnEquals within their segment           all         counts
type pattern struct {
	source string
	tokens []token
	fold   bool // ASCII case is ignored
	arn    bool // the tokens' colons are checked after the variables are known
	never  bool // matches no text at all
	vars   bool // has a tokenVariable

	// The two shapes that most patterns have, so that they need no loop over tokens.
	exact  bool   // head is the whole text
	prefix bool   // head, then anything
	head   string // lower case where fold is set
}

// finish works out the shape of a pattern whose tokens are complete.
func (p pattern) finish() pattern {
	for i := range p.tokens {
		if p.tokens[i].kind == tokenVariable {
			p.vars = true
			return p
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
	return p
}

// actionPattern compiles an action. IAM ignores the case of actions and has no variables in them
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html).
func actionPattern(text string) pattern {
	return pattern{source: text, tokens: appendText(nil, strings.ToLower(text), true), fold: true}.finish()
}

// resourcePattern compiles a value of Resource or NotResource.
//
// A wildcard stays within its segment, one of the six that the first five colons of the pattern separate; only a "*"
// that is the last character of its segment goes on across colons: "arn:aws:sqs:*" takes every queue. In the sixth
// segment, the resource itself, every wildcard takes colons too
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html, "Using wildcards in
// resource ARNs"). A variable counts only after the fifth colon; before it, the pattern matches nothing
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html, "Resource element").
func resourcePattern(text string, variables bool) (pattern, error) {
	p := pattern{source: text}
	var err error
	if p.tokens, err = tokens(text, variables, true); err != nil {
		return p, err
	}
	colons := 0
	for i := range p.tokens {
		t := &p.tokens[i]
		switch t.kind {
		case tokenLiteral:
			colons += strings.Count(t.text, ":")
		case tokenVariable:
			p.never = p.never || colons < arnColons
		case tokenOne:
			t.noColon = colons < arnColons
		case tokenMany:
			last := i+1 == len(p.tokens) || (p.tokens[i+1].kind == tokenLiteral && p.tokens[i+1].text[0] == ':')
			t.noColon = colons < arnColons && !last
		}
	}
	return p.finish(), nil
}

// arnColons separate the six segments of an ARN.
const arnColons = 5

// arnPattern compiles a value of ArnEquals or ArnLike, which are the same: each of the six segments is checked on its
// own and may have wildcards
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html, "ARN
// condition operators").
//
// NOTE: A value with fewer segments, "*" among them, is no ARN and matches nothing; AWS does not say.
func arnPattern(text string, variables bool) (pattern, error) {
	p := pattern{source: text, arn: true}
	var err error
	if p.tokens, err = tokens(text, variables, true); err != nil {
		return p, err
	}
	p = p.finish()
	if !p.vars {
		p.never = !segment(p.tokens)
		p.arn = false
	}
	return p, nil
}

// segment keeps wildcards within their segments and tells whether there are six.
func segment(ts []token) bool {
	colons := 0
	for i := range ts {
		if ts[i].kind == tokenLiteral {
			colons += strings.Count(ts[i].text, ":")
			continue
		}
		ts[i].noColon = colons < arnColons
	}
	return colons >= arnColons
}

// stringPattern compiles a value of a string condition; wild is for StringLike and its kin.
func stringPattern(text string, variables, wild bool) (pattern, error) {
	ts, err := tokens(text, variables, wild)
	return pattern{source: text, tokens: ts}.finish(), err
}

// match tells whether the text matches, with the variables of the request.
func (p *pattern) match(text string, env *environment) answer {
	switch {
	case p.never:
		return no
	case p.exact:
		return is(len(text) == len(p.head) && hasPrefix(text, p.head, p.fold))
	case p.prefix:
		return is(hasPrefix(text, p.head, p.fold))
	case !p.vars:
		return is(matchTokens(p.tokens, text, p.fold))
	}
	var room [32]token
	ts, known := env.substitute(room[:0], p.tokens)
	if known != yes {
		return known
	}
	if p.arn && !segment(ts) {
		return no
	}
	return is(matchTokens(ts, text, p.fold))
}

// matchTokens matches tokens without variables. Two places to go back to are enough: a star that takes no colon moves
// within one segment, so once it fails only a star that crosses segments can help.
func matchTokens(ts []token, s string, fold bool) bool {
	i, pos := 0, 0
	star, starPos := -1, 0 // the last star, and where what follows it was tried
	wide, widePos := -1, 0 // the last star that takes colons
	for {
		if i == len(ts) {
			if pos == len(s) {
				return true
			}
		} else {
			switch t := &ts[i]; t.kind {
			case tokenMany:
				star, starPos = i, pos
				if !t.noColon {
					wide, widePos = i, pos
				}
				i++
				continue
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
		switch {
		case star >= 0 && starPos < len(s) && (!ts[star].noColon || s[starPos] != ':'):
			starPos += width(s[starPos:])
			if star == wide {
				widePos = starPos
			}
		case wide >= 0 && star != wide && widePos < len(s):
			widePos += width(s[widePos:])
			star, starPos = wide, widePos
		default:
			return false
		}
		i, pos = star+1, starPos
	}
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
	for i := range len(prefix) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}
