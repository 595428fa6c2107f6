package iam

import "strconv"

// newTrack turns a compiled pattern into steps. A variable is taken as "*": such a track is wider than the pattern is
// in any one request. A pattern that never matches has no track.
func newTrack(p pattern, fold bool) (t track, ok bool) {
	if p.never {
		return nil, false
	}
	for _, tok := range p.tokens {
		switch tok.kind {
		case tokenLiteral:
			for _, r := range tok.text {
				t = append(t, step{char: r, fold: fold})
			}
		case tokenOne:
			t = append(t, step{kind: stepOne, seg: tok.noColon})
		case tokenMany, tokenVariable:
			t = append(t, step{kind: stepMany, seg: tok.noColon})
		}
	}
	return t, true
}

// shape is equal for patterns that mean the same in every request. The text alone does not tell: "${$}" is one character
// or four, by the policy's version.
func (p pattern) shape() string {
	var b []byte
	for _, t := range p.tokens {
		b = append(b, byte(t.kind))
		b = strconv.AppendBool(b, t.noColon)
		b = strconv.AppendQuote(b, t.text)
		if t.kind == tokenVariable {
			b = strconv.AppendQuote(b, t.v.key)
			b = strconv.AppendBool(b, t.v.hasDefault)
			b = strconv.AppendQuote(b, t.v.fallback)
		}
	}
	return string(b)
}

// actionUniverse is every action that a Request may name: "service:Name", both not empty.
func actionUniverse() language {
	return language{{{kind: stepOne, seg: true}, {kind: stepMany, seg: true}, {char: ':'}, {kind: stepOne}, {kind: stepMany}}}
}

// resourceUniverse is every resource that a Request may name: any text but the empty one.
func resourceUniverse() language { return language{{{kind: stepOne}, {kind: stepMany}}} }

// arnUniverse is what people take for a resource: "arn:aws:service:region:account:name", the region and the account
// possibly empty.
func arnUniverse() language {
	t := track{}
	for _, r := range "arn:aws:" {
		t = append(t, step{char: r})
	}
	one, many, colon := step{kind: stepOne, seg: true}, step{kind: stepMany, seg: true}, step{char: ':'}
	return language{append(t, one, many, colon, many, colon, many, colon, step{kind: stepOne}, step{kind: stepMany})}
}
