package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// SyntaxError says where a text is no policy. It wraps ErrPolicy.
type SyntaxError struct {
	Line   int // from 1
	Column int // in bytes, from 1
	Msg    string
}

// Error returns "line:column: message".
func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg) }

// Unwrap returns ErrPolicy.
func (e *SyntaxError) Unwrap() error { return ErrPolicy }

// Parse reads a policy document by IAM's whole grammar
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html) and checks it as Validate does.
// Every error is a *SyntaxError. Names of elements and effects are as IAM spells them; operators may be in any case.
// Numbers and booleans as condition values become their text. A document without a Version has Version2008.
func Parse(b []byte) (Policy, error) {
	r := &reader{text: b, dec: json.NewDecoder(bytes.NewReader(b))}
	r.dec.UseNumber()
	p, err := r.document()
	if err == nil {
		err = p.Validate()
	}
	if err == nil {
		return p, nil
	}
	var bad *statementError
	var syntax *SyntaxError
	switch {
	case errors.As(err, &syntax):
	case errors.As(err, &bad):
		syntax = r.errorAt(r.statements[bad.index], "%s", message(bad))
	default:
		syntax = r.errorAt(0, "%s", message(err))
	}
	return Policy{}, syntax
}

// message is the error's text without ErrPolicy's, which a SyntaxError wraps anyway.
func message(err error) string { return strings.Replace(err.Error(), ErrPolicy.Error()+": ", "", 1) }

func (r *reader) document() (Policy, error) {
	if bytes.HasPrefix(r.text, []byte("\uFEFF")) {
		return Policy{}, r.errorAt(0, "the text begins with a byte order mark; save it as UTF-8 without one")
	}
	if i := firstInvalid(r.text); i >= 0 {
		return Policy{}, r.errorAt(i, "the text is not UTF-8")
	}
	var p Policy
	t, err := r.next()
	if err != nil {
		return p, err
	}
	err = r.object(t, "the document", false, func(name string, t json.Token) error {
		switch name {
		case "Version":
			if err := r.word(t, &p.Version); err != nil {
				return err
			}
			if p.Version != Version && p.Version != Version2008 {
				return r.errorf("version %q is neither %q nor %q", p.Version, Version, Version2008)
			}
			return nil
		case "Id":
			return r.word(t, &p.ID)
		case "Statement":
			return r.statementList(t, &p.Statements)
		}
		return r.unknown(name, "a policy has Version, Id and Statement")
	})
	if err != nil {
		return p, err
	}
	if p.Version == "" {
		p.Version = Version2008
	}
	rest := r.text[r.dec.InputOffset():]
	if trimmed := bytes.TrimLeft(rest, " \t\r\n"); len(trimmed) > 0 {
		return p, r.errorAt(len(r.text)-len(trimmed), "text after the document")
	}
	return p, nil
}

func (r *reader) unknown(name, known string) error {
	return r.errorAt(r.member, "unknown element %q: %s; names are case-sensitive", name, known)
}

func (r *reader) statementList(t json.Token, out *[]Statement) error {
	if t == json.Delim('{') {
		return r.statement(t, out)
	}
	if t != json.Delim('[') {
		return r.errorf("Statement is neither a list nor an object")
	}
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		if t == json.Delim(']') {
			return nil
		}
		if err := r.statement(t, out); err != nil {
			return err
		}
	}
}

func (r *reader) statement(t json.Token, out *[]Statement) error {
	r.statements = append(r.statements, r.at)
	var s Statement
	err := r.object(t, "the statement", false, func(name string, t json.Token) error {
		switch name {
		case "Sid":
			return r.word(t, &s.Sid)
		case "Effect":
			return r.word(t, &s.Effect)
		case "Principal":
			return r.principal(t, name, &s.Principal)
		case "NotPrincipal":
			return r.principal(t, name, &s.NotPrincipal)
		case "Action":
			return r.list(t, name, false, &s.Action)
		case "NotAction":
			return r.list(t, name, false, &s.NotAction)
		case "Resource":
			return r.list(t, name, false, &s.Resource)
		case "NotResource":
			return r.list(t, name, false, &s.NotResource)
		case "Condition":
			return r.condition(t, &s.Condition)
		}
		return r.unknown(name, "a statement has Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource and Condition")
	})
	*out = append(*out, s)
	return err
}

func (r *reader) principal(t json.Token, name string, out *map[string][]string) error {
	if s, ok := t.(string); ok {
		if s != "*" {
			return r.errorf(`%s %q is neither "*" nor an object such as {"AWS": ...}`, name, s)
		}
		*out = map[string][]string{"*": {"*"}}
		return nil
	}
	*out = map[string][]string{}
	err := r.object(t, name, false, func(kind string, t json.Token) error {
		if kind == "*" {
			return r.errorAt(r.member, `unknown type of principal "*"; everybody is %q: "*"`, name)
		}
		var vs []string
		err := r.list(t, name, false, &vs)
		(*out)[kind] = vs
		return err
	})
	if err == nil && len(*out) == 0 {
		err = r.errorf("%s is empty", name)
	}
	return err
}

func (r *reader) condition(t json.Token, out *map[string]map[string][]string) error {
	return r.object(t, "Condition", true, func(op string, t json.Token) error {
		if _, err := parseOperator(op); err != nil {
			return r.errorAt(r.member, "%s", message(err))
		}
		keys := map[string][]string{}
		err := r.object(t, op, true, func(key string, t json.Token) error {
			var vs []string
			err := r.list(t, key, true, &vs)
			keys[key] = vs
			return err
		})
		if *out == nil {
			*out = map[string]map[string][]string{}
		}
		(*out)[op] = keys
		return err
	})
}
