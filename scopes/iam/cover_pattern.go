package iam

import "encoding/binary"

// newTrack turns a compiled pattern into steps. A variable is taken as "*": such a track is wider than the pattern is
// in any one request. A pattern that never matches has no track.
func newTrack(p *pattern, fold folding) (t track, ok bool) {
	if p.never {
		return nil, false
	}
	n := len(p.tokens)
	for i := range p.tokens {
		n += len(p.tokens[i].text)
	}
	t = make(track, 0, n)
	for i := range p.tokens {
		switch tok := &p.tokens[i]; tok.kind {
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

// textTrack is the track of one text.
func textTrack(text string) (t track) {
	for _, r := range text {
		t = append(t, step{char: r})
	}
	return t
}

// appendShape appends what is equal for patterns that mean the same in every request. The text alone does not tell: "${$}"
// is one character or four, by the policy's version.
func (p *pattern) appendShape(b []byte) []byte {
	b = appendSized(b, p.also)
	b = append(b, flags(p.open))
	for i := range p.tokens {
		t := &p.tokens[i]
		b = append(b, byte(t.kind), flags(t.noColon, t.v != nil))
		b = appendSized(b, t.text)
		if t.v != nil {
			b = appendSized(b, t.v.key)
			b = append(b, flags(t.v.hasDefault))
			b = appendSized(b, t.v.fallback)
		}
	}
	return b
}

// appendSized appends a text after its length, so that no two lists of texts are one.
func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// flags are up to eight booleans.
func flags(bs ...bool) (f byte) {
	for i, is := range bs {
		if is {
			f |= 1 << i
		}
	}
	return f
}

// actionUniverse is every action that a Request may name: "service:Name", both not empty.
func actionUniverse() language {
	return language{{{kind: stepOne, seg: true}, {kind: stepMany, seg: true}, {char: ':'}, {kind: stepOne}, {kind: stepMany}}}
}

// resourceUniverse is every resource that a Request may name: "*", or an ARN of six fields.
func resourceUniverse() language { return language{{{char: '*'}}, arnTrack()} }

// arnTrack is what isARN takes.
func arnTrack() track {
	t := track{}
	for _, r := range "arn:" {
		t = append(t, step{char: r})
	}
	one, many, colon := step{kind: stepOne, seg: true}, step{kind: stepMany, seg: true}, step{char: ':'}
	return append(t, one, many, colon, one, many, colon, many, colon, many, colon, step{kind: stepMany})
}

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
