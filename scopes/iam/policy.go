// Package iam holds AWS IAM policies as values: it prints them in one canonical form, reads them back, and binds
// them to a deadline, to source networks and to their own edges.
//
// Laws:
//   - One policy has one text: values are sorted and unique, a single value is a string, keys have a fixed order.
//   - Bind only narrows: it adds Deny statements and never touches an Allow.
//   - A policy that allows nothing is an error, never "no restriction": STS reads a missing session policy that way.
//
// The package decides nothing about who may have a policy and talks to no one. All values are safe to share once
// built; no function keeps or changes its arguments.
package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Version is the policy language version that every policy says; the older one has no variables.
const Version = "2012-10-17"

// MaxSize is the most characters an inline session policy may have
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, Policy).
const MaxSize = 2048

// The two effects of a statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// ErrPolicy is the parent of every refusal of this package.
var ErrPolicy = errors.New("invalid IAM policy")

// ErrEmpty says that a policy allows nothing.
var ErrEmpty = fmt.Errorf("%w: it allows nothing", ErrPolicy)

// Policy is one IAM policy document. The zero value allows nothing and neither marshals nor binds.
type Policy struct {
	Version    string // empty means Version
	Statements []Statement
}

// Statement is one statement. Exactly one of Action and NotAction, and of Resource and NotResource, is set.
type Statement struct {
	Sid         string // empty leaves it out
	Effect      string // Allow or Deny
	Action      []string
	NotAction   []string
	Resource    []string
	NotResource []string
	Condition   map[string]map[string][]string // operator -> key -> values; nil means always
}

// Clone returns a copy that shares nothing with p.
func (p Policy) Clone() Policy {
	out := Policy{Version: p.Version, Statements: make([]Statement, len(p.Statements))}
	for i, s := range p.Statements {
		s.Action, s.NotAction = slices.Clone(s.Action), slices.Clone(s.NotAction)
		s.Resource, s.NotResource = slices.Clone(s.Resource), slices.Clone(s.NotResource)
		s.Condition = cloneCondition(s.Condition)
		out.Statements[i] = s
	}
	return out
}

func cloneCondition(in map[string]map[string][]string) map[string]map[string][]string {
	if in == nil {
		return nil
	}
	out := make(map[string]map[string][]string, len(in))
	for op, keys := range in {
		m := make(map[string][]string, len(keys))
		for k, vs := range keys {
			m[k] = slices.Clone(vs)
		}
		out[op] = m
	}
	return out
}

// Validate says what is wrong with the policy's form.
func (p Policy) Validate() error {
	if p.Version != "" && p.Version != Version {
		return fmt.Errorf("%w: version %q is not %q", ErrPolicy, p.Version, Version)
	}
	allows := false
	for i, s := range p.Statements {
		if err := s.validate(); err != nil {
			return fmt.Errorf("checking statement %d: %w", i+1, err)
		}
		allows = allows || s.Effect == Allow
	}
	if !allows {
		return ErrEmpty
	}
	return nil
}

func (s Statement) validate() error {
	if s.Effect != Allow && s.Effect != Deny {
		return fmt.Errorf("%w: effect %q", ErrPolicy, s.Effect)
	}
	if (len(s.Action) == 0) == (len(s.NotAction) == 0) {
		return fmt.Errorf("%w: needs exactly one of Action and NotAction", ErrPolicy)
	}
	if (len(s.Resource) == 0) == (len(s.NotResource) == 0) {
		return fmt.Errorf("%w: needs exactly one of Resource and NotResource", ErrPolicy)
	}
	for _, list := range [][]string{s.Action, s.NotAction, s.Resource, s.NotResource} {
		if slices.Contains(list, "") {
			return fmt.Errorf("%w: an empty action or resource", ErrPolicy)
		}
	}
	for op, keys := range s.Condition {
		if op == "" || len(keys) == 0 {
			return fmt.Errorf("%w: condition operator %q has no keys", ErrPolicy, op)
		}
		for k, vs := range keys {
			if k == "" || len(vs) == 0 {
				return fmt.Errorf("%w: condition key %q has no values", ErrPolicy, k)
			}
		}
	}
	return nil
}

// values marshals sorted and unique; one value as a bare string, as AWS itself writes it.
type values []string

func (v values) MarshalJSON() ([]byte, error) {
	out := slices.Clone([]string(v))
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 1 {
		return marshal(out[0])
	}
	return marshal(out)
}

func (v *values) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*v = values{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(v))
}

type wirePolicy struct {
	Version   string
	Statement []wireStatement
}

type wireStatement struct {
	Sid         string `json:",omitempty"`
	Effect      string
	Action      values                       `json:",omitempty"`
	NotAction   values                       `json:",omitempty"`
	Resource    values                       `json:",omitempty"`
	NotResource values                       `json:",omitempty"`
	Condition   map[string]map[string]values `json:",omitempty"`
}

// Marshal prints the policy in its canonical form, the text that Size counts and STS gets.
func (p Policy) Marshal() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	w := wirePolicy{Version: Version}
	for _, s := range p.Statements {
		ws := wireStatement{Sid: s.Sid, Effect: s.Effect, Action: s.Action, NotAction: s.NotAction,
			Resource: s.Resource, NotResource: s.NotResource}
		if len(s.Condition) > 0 {
			ws.Condition = make(map[string]map[string]values, len(s.Condition))
		}
		for op, keys := range s.Condition {
			m := make(map[string]values, len(keys))
			for k, vs := range keys {
				m[k] = vs
			}
			ws.Condition[op] = m
		}
		w.Statement = append(w.Statement, ws)
	}
	return marshal(w)
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

// Parse reads a policy document. It refuses unknown keys, principals (a session policy has none) and what Validate
// refuses.
func Parse(b []byte) (Policy, error) {
	var w wirePolicy
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if dec.More() {
		return Policy{}, fmt.Errorf("%w: text after the document", ErrPolicy)
	}
	p := Policy{Version: w.Version}
	for _, ws := range w.Statement {
		s := Statement{Sid: ws.Sid, Effect: ws.Effect, Action: ws.Action, NotAction: ws.NotAction,
			Resource: ws.Resource, NotResource: ws.NotResource}
		if len(ws.Condition) > 0 {
			s.Condition = make(map[string]map[string][]string, len(ws.Condition))
		}
		for op, keys := range ws.Condition {
			m := make(map[string][]string, len(keys))
			for k, vs := range keys {
				m[k] = vs
			}
			s.Condition[op] = m
		}
		p.Statements = append(p.Statements, s)
	}
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// Size returns how many characters the policy's canonical text has, or 0 where it has none. The text is counted in
// bytes, which is never less than AWS counts.
func Size(p Policy) int {
	b, err := p.Marshal()
	if err != nil {
		return 0
	}
	return len(b)
}

// marshal is json.Marshal without the escaping of <, > and &, which would cost characters.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("marshalling IAM policy: %w", err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
