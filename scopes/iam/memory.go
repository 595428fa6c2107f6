package iam

import "strings"

// memory is where the patterns and the tokens of one policy are put, side by side: a policy has many, and all of them
// live as long as it does.
type memory struct {
	ps    []pattern
	ts    []token
	lower strings.Builder // actions in lower case
}

// tokensEach is how many tokens most patterns have at the most: a literal and a "*".
const tokensEach = 2

// room makes room for all of the policy's statements.
func (m *memory) room(p *Policy) {
	n, letters := 0, 0
	for i := range p.Statements {
		s := &p.Statements[i]
		n += len(s.Action) + len(s.NotAction) + len(s.Resource) + len(s.NotResource)
		for _, list := range [...][]string{s.Action, s.NotAction} {
			for _, a := range list {
				letters += len(a)
			}
		}
	}
	m.ps, m.ts = make([]pattern, 0, n), make([]token, 0, n+n/2)
	m.lower.Grow(letters)
}

// lowered is asciiLower.
func (m *memory) lowered(text string) string {
	at := m.lower.Len()
	if m.lower.Cap()-at < len(text) {
		return asciiLower(text)
	}
	for i := range len(text) {
		m.lower.WriteByte(lower(text[i]))
	}
	return m.lower.String()[at:]
}

// patterns returns n zero patterns.
func (m *memory) patterns(n int) []pattern {
	at := len(m.ps)
	m.ps = m.ps[:at+n]
	return m.ps[at : at+n : at+n]
}

// tokens returns an empty list of tokens. They are in the memory as long as there is room.
func (m *memory) tokens() []token {
	if cap(m.ts)-len(m.ts) < tokensEach {
		return make([]token, 0, tokensEach)
	}
	return m.ts[len(m.ts):]
}

// keep notes that the list, which began as tokens, is complete: nothing is appended to it any more.
func (m *memory) keep(ts []token) []token {
	n := len(ts)
	if at := len(m.ts); n > 0 && n <= cap(m.ts)-at && &ts[0] == &m.ts[at : at+1][0] {
		m.ts = m.ts[:at+n]
	}
	return ts[:n:n]
}

// ending makes p the pattern of a literal text, which is all of it or ends with a "*": what finish would make of it.
func (m *memory) ending(p *pattern, head string, star bool) {
	ts := m.tokens()
	if head != "" {
		ts = append(ts, token{text: head})
	}
	if star {
		ts = append(ts, token{kind: tokenMany})
	}
	p.tokens, p.head, p.exact, p.prefix = m.keep(ts), head, !star, star
}
