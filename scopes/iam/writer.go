package iam

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// writer builds the one text of a policy, which encoding/json cannot: it would escape <, > and &, and each escape counts
// against MaxSize. Its methods append to b and return it. What is not sorted is sorted on the way; the policy stays as
// it is.
type writer struct {
	jcs bool  // members in RFC 8785's order, and not in that of AWS's examples
	odd bool  // some text has more than printable ASCII in it, which RFC 8785 may write in another way
	err error // the first one
}

func (w *writer) policy(b []byte, p *Policy) []byte {
	b = append(b, '{')
	if !w.jcs {
		b = w.version(b, p)
	}
	b = w.optional(b, "Id", p.ID)
	b = append(member(b, "Statement"), '[')
	for i := range p.Statements {
		if i > 0 {
			b = append(b, ',')
		}
		if s := &p.Statements[i]; w.jcs {
			b = w.sorted(b, s)
		} else {
			b = w.statement(b, s)
		}
	}
	b = append(b, ']')
	if w.jcs {
		b = w.version(b, p)
	}
	return append(b, '}')
}

func (w *writer) version(b []byte, p *Policy) []byte {
	v := p.Version
	if v == "" {
		v = Version
	}
	return w.optional(b, "Version", v)
}

// statement writes the members in the order of AWS's examples.
func (w *writer) statement(b []byte, s *Statement) []byte {
	b = append(b, '{')
	b = w.optional(b, "Sid", s.Sid)
	b = w.word(member(b, "Effect"), s.Effect)
	b = w.principal(b, "Principal", s.Principal)
	b = w.principal(b, "NotPrincipal", s.NotPrincipal)
	b = w.list(b, "Action", s.Action)
	b = w.list(b, "NotAction", s.NotAction)
	b = w.list(b, "Resource", s.Resource)
	b = w.list(b, "NotResource", s.NotResource)
	b = w.condition(b, s.Condition)
	return append(b, '}')
}

// sorted writes the members of a session policy's statement, which has no principals, sorted by name.
func (w *writer) sorted(b []byte, s *Statement) []byte {
	b = append(b, '{')
	b = w.list(b, "Action", s.Action)
	b = w.condition(b, s.Condition)
	b = w.word(member(b, "Effect"), s.Effect)
	b = w.list(b, "NotAction", s.NotAction)
	b = w.list(b, "NotResource", s.NotResource)
	b = w.list(b, "Resource", s.Resource)
	b = w.optional(b, "Sid", s.Sid)
	return append(b, '}')
}

// member begins a member of an object whose brace, or whose last member, is at the end of b.
func member(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), name...), '"', ':')
}

// optional writes a member that is not there where it is empty.
func (w *writer) optional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return w.word(member(b, name), value)
}

// list writes a member that is not there where it has no values.
func (w *writer) list(b []byte, name string, vs []string) []byte {
	if len(vs) == 0 {
		return b
	}
	return w.values(member(b, name), vs)
}

// values writes each value once, sorted, and one value as a bare string, as AWS itself does.
func (w *writer) values(b []byte, vs []string) []byte {
	if vs = inOrder(vs); len(vs) == 1 {
		return w.word(b, vs[0])
	}
	b = append(b, '[')
	for i, v := range vs {
		if i > 0 {
			b = append(b, ',')
		}
		b = w.word(b, v)
	}
	return append(b, ']')
}

// inOrder returns the values sorted and unique: the list itself where it is that.
func inOrder(vs []string) []string {
	for i := 1; i < len(vs); i++ {
		if vs[i-1] >= vs[i] {
			vs = slices.Clone(vs)
			slices.Sort(vs)
			return slices.Compact(vs)
		}
	}
	return vs
}

// principal writes everybody as a bare "*".
func (w *writer) principal(b []byte, name string, m map[string][]string) []byte {
	if len(m) == 0 {
		return b
	}
	b = member(b, name)
	if vs, everybody := m["*"]; everybody {
		return w.values(b, vs)
	}
	return w.lists(b, m)
}

// condition writes the operators as AWS spells them.
func (w *writer) condition(b []byte, c map[string]map[string][]string) []byte {
	if len(c) == 0 {
		return b
	}
	type spelling struct{ name, own string }
	var room [4]spelling
	ops := room[:0]
	for own := range c {
		name := own
		if o, err := parseOperator(own); err == nil {
			name = o.name
		}
		ops = append(ops, spelling{name, own})
	}
	slices.SortFunc(ops, func(a, b spelling) int { return strings.Compare(a.name, b.name) })
	b = append(member(b, "Condition"), '{')
	for i, op := range ops {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(w.word(b, op.name), ':')
		b = w.lists(b, c[op.own])
	}
	return append(b, '}')
}

// lists writes an object of lists, sorted by name.
func (w *writer) lists(b []byte, m map[string][]string) []byte {
	var room [4]string
	b = append(b, '{')
	for i, name := range appendKeys(room[:0], m) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(w.word(b, name), ':')
		b = w.values(b, m[name])
	}
	return append(b, '}')
}

// word writes a string.
func (w *writer) word(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return w.oddWord(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// oddWord writes a string of any characters.
func (w *writer) oddWord(b []byte, s string) []byte {
	w.odd = true
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil && w.err == nil {
		w.err = err
	}
	return append(b, bytes.TrimRight(buf.Bytes(), "\n")...)
}

func sortedKeys[V any](m map[string]V) []string {
	return appendKeys(make([]string, 0, len(m)), m)
}

// appendKeys appends the keys, sorted, to an empty list.
func appendKeys[V any](out []string, m map[string]V) []string {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
