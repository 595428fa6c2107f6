package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
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
			name = o.String()
		}
		out[name] = canonicalLists(keys)
	}
	return out
}

// values marshals one value as a bare string, as AWS itself writes it.
type values []string

func (v values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return marshal(v[0])
	}
	return marshal([]string(v))
}

type wirePolicy struct {
	Version   string
	ID        string `json:"Id,omitempty"`
	Statement []wireStatement
}

type wireStatement struct {
	Sid          string `json:",omitempty"`
	Effect       string
	Principal    principal                    `json:",omitempty"`
	NotPrincipal principal                    `json:",omitempty"`
	Action       values                       `json:",omitempty"`
	NotAction    values                       `json:",omitempty"`
	Resource     values                       `json:",omitempty"`
	NotResource  values                       `json:",omitempty"`
	Condition    map[string]map[string]values `json:",omitempty"`
}

// principal marshals everybody as a bare "*".
type principal map[string]values

func (p principal) MarshalJSON() ([]byte, error) {
	if _, everybody := p["*"]; everybody {
		return marshal("*")
	}
	return marshal(map[string]values(p))
}

func wireLists[M ~map[string]values](m map[string][]string) M {
	if len(m) == 0 {
		return nil
	}
	out := make(M, len(m))
	for k, vs := range m {
		out[k] = vs
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

// print is Marshal for a policy that has been checked.
func (p Policy) print() ([]byte, error) {
	c := p.Canonical()
	w := wirePolicy{Version: c.Version, ID: c.ID}
	for _, s := range c.Statements {
		ws := wireStatement{Sid: s.Sid, Effect: s.Effect, Action: s.Action, NotAction: s.NotAction,
			Principal: wireLists[principal](s.Principal), NotPrincipal: wireLists[principal](s.NotPrincipal),
			Resource: s.Resource, NotResource: s.NotResource}
		if len(s.Condition) > 0 {
			ws.Condition = make(map[string]map[string]values, len(s.Condition))
		}
		for op, keys := range s.Condition {
			ws.Condition[op] = wireLists[map[string]values](keys)
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

// Size returns how many characters the session policy's canonical text has, or 0 where ValidateSession refuses it. The
// text is counted in bytes, which is never less than AWS counts.
func Size(p Policy) int {
	if p.ValidateSession() != nil {
		return 0
	}
	b, err := p.print()
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
