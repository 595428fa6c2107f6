package iam

import (
	"fmt"
	"slices"

	"github.com/valetkey/valetkey/scopes/jcs"
)

// Canonical returns the policy in its one form: values sorted and unique, operators as AWS spells them, Version said,
// what is empty nil. It is what Parse returns for the text that Marshal prints. Statements keep their order and keys
// their spelling. A policy that Validate refuses comes back in some form that it refuses too.
func (p Policy) Canonical() Policy {
	out := p.Clone()
	if out.Version == "" {
		out.Version = Version
	}
	for i := range out.Statements {
		s := &out.Statements[i]
		for _, list := range []*[]string{&s.Action, &s.NotAction, &s.Resource, &s.NotResource} {
			*list = canonicalValues(*list)
		}
		for _, m := range []*map[string][]string{&s.Principal, &s.NotPrincipal} {
			*m = canonicalLists(*m)
		}
		s.Condition = canonicalCondition(s.Condition)
	}
	return out
}

func canonicalValues(vs []string) []string {
	if len(vs) == 0 {
		return nil
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

func canonicalLists(m map[string][]string) map[string][]string {
	if len(m) == 0 {
		return nil
	}
	for k, vs := range m {
		m[k] = canonicalValues(vs)
	}
	return m
}

func canonicalCondition(c map[string]map[string][]string) map[string]map[string][]string {
	if len(c) == 0 {
		return nil
	}
	out := make(map[string]map[string][]string, len(c))
	for op, keys := range c {
		name := op
		if o, err := parseOperator(op); err == nil {
			name = o.name
		}
		out[name] = canonicalLists(keys)
	}
	return out
}

// Marshal prints the policy in its canonical form, the text that Size counts and STS gets. It refuses what Validate
// refuses.
func (p Policy) Marshal() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p.print()
}

// textRoom is how long the text of most policies is at the most: what STS takes.
const textRoom = MaxSize

// print is Marshal for a policy that has been checked.
func (p *Policy) print() ([]byte, error) {
	var room [textRoom]byte
	var w writer
	text := w.policy(room[:0], p)
	if w.err != nil {
		return nil, fmt.Errorf("marshalling IAM policy: %w", w.err)
	}
	return slices.Clone(text), nil
}

// MarshalJSON is Marshal, so that a policy inside a larger document has the same content.
func (p Policy) MarshalJSON() ([]byte, error) { return p.Marshal() }

// UnmarshalJSON is Parse.
func (p *Policy) UnmarshalJSON(b []byte) error {
	out, err := Parse(b)
	if err != nil {
		return err
	}
	*p = out
	return nil
}

// Size returns how many characters the session policy's canonical text has, or 0 where ValidateSession refuses it. The
// text is counted in bytes, which is never less than AWS counts.
func Size(p Policy) int {
	if p.ValidateSession() != nil {
		return 0
	}
	return p.length()
}

// length is the length of what print prints, or 0 where that is an error.
func (p *Policy) length() int {
	var room [textRoom]byte
	var w writer
	text := w.policy(room[:0], p)
	if w.err != nil {
		return 0
	}
	return len(text)
}

// AppendSessionJCS appends a session policy as RFC 8785 JSON: what is signed and hashed, with the content of Marshal's
// text. It refuses what ValidateSession refuses.
func (p Policy) AppendSessionJCS(to []byte) ([]byte, error) {
	if err := p.ValidateSession(); err != nil {
		return nil, err
	}
	w := writer{jcs: true}
	if out := w.policy(to, &p); !w.odd {
		return out, nil
	}
	text, err := p.print()
	if err != nil {
		return nil, err
	}
	if text, err = jcs.Canonicalize(text); err != nil {
		return nil, fmt.Errorf("marshalling IAM policy: %w", err)
	}
	return append(to, text...), nil
}
