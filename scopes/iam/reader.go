package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// reader walks the tokens of one document. The standard decoder does the lexing; what it lets pass, a key twice and
// text after the end, is checked here.
type reader struct {
	text       []byte
	dec        *json.Decoder
	at         int   // where the last token starts
	member     int   // where the name of the last member starts
	statements []int // where each statement starts
}

func (r *reader) errorAt(offset int, format string, args ...any) *SyntaxError {
	before := r.text[:min(offset, len(r.text))]
	return &SyntaxError{Line: 1 + bytes.Count(before, []byte("\n")), Column: len(before) - bytes.LastIndexByte(before, '\n'),
		Msg: fmt.Sprintf(format, args...)}
}

func (r *reader) errorf(format string, args ...any) *SyntaxError {
	return r.errorAt(r.at, format, args...)
}

// next reads one token.
func (r *reader) next() (json.Token, error) {
	end := int(r.dec.InputOffset())
	t, err := r.dec.Token()
	r.at = end + len(r.text[end:]) - len(bytes.TrimLeft(r.text[end:], " \t\r\n:,"))
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		if s, ok := t.(string); ok && r.replaced(s) {
			return nil, r.errorf("the string has half of a surrogate pair")
		}
		return t, nil
	case errors.As(err, &syntax):
		return nil, r.errorAt(max(int(syntax.Offset)-1, r.at), "%s", syntax.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, r.errorAt(len(r.text), "the document ends too early")
	default:
		return nil, r.errorf("%v", err)
	}
}

// replaced tells whether the decoder put a replacement character into the token for an escape that is no character.
func (r *reader) replaced(s string) bool {
	n := strings.Count(s, "\uFFFD")
	if n == 0 {
		return false
	}
	raw := bytes.ToLower(r.text[r.at:r.dec.InputOffset()])
	return n > bytes.Count(raw, []byte("\uFFFD"))+bytes.Count(raw, []byte(`\ufffd`))
}

// object reads the members of an object whose first token is open. With fold, names that differ in case are one.
func (r *reader) object(open json.Token, what string, fold bool, member func(name string, t json.Token) error) error {
	if open != json.Delim('{') {
		return r.errorf("%s is not an object", what)
	}
	var seen names
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		if t == json.Delim('}') {
			return nil
		}
		name, _ := t.(string) // the decoder gives no other token here
		folded := name
		if fold {
			folded = strings.ToLower(name)
		}
		if !seen.add(folded) {
			return r.errorf("%q is there twice in %s", name, what)
		}
		r.member = r.at
		if t, err = r.next(); err != nil {
			return err
		}
		if err := member(name, t); err != nil {
			return err
		}
	}
}

// names are those that an object has had. Most objects have few, which need no map.
type names struct {
	few  [8]string
	n    int // in few
	many map[string]bool
}

// add notes a name, and tells whether it is new.
func (s *names) add(name string) bool {
	if slices.Contains(s.few[:s.n], name) || s.many[name] {
		return false
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = make(map[string]bool)
	}
	s.many[name] = true
	return true
}

// word takes one string.
func (r *reader) word(t json.Token, out *string) error {
	s, ok := t.(string)
	if !ok {
		return r.errorf("%s is not a string", kindOf(t))
	}
	*out = s
	return nil
}

// list takes one value or a list of them; with scalars, numbers and booleans become their text.
func (r *reader) list(t json.Token, what string, scalars bool, out *[]string) error {
	one := func(t json.Token) error {
		switch v := t.(type) {
		case string:
			*out = append(*out, v)
			return nil
		case json.Number:
			if scalars {
				*out = append(*out, v.String())
				return nil
			}
		case bool:
			if scalars {
				*out = append(*out, fmt.Sprint(v))
				return nil
			}
		}
		return r.errorf("%s in %q is not a value", kindOf(t), what)
	}
	if t != json.Delim('[') {
		return one(t)
	}
	start := r.at
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		if t == json.Delim(']') {
			break
		}
		if err := one(t); err != nil {
			return err
		}
	}
	if len(*out) == 0 && !scalars { // a condition without values is for the policy's kind to judge
		return r.errorAt(start, "%q has no values", what)
	}
	return nil
}

func kindOf(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		if v == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	default:
		return "a number"
	}
}

// firstInvalid returns where the text stops to be UTF-8, or -1.
func firstInvalid(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
