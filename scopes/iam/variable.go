package iam

import (
	"fmt"
	"strings"
)

// variable is a policy variable: "${aws:username}", or with a default "${aws:PrincipalTag/team, 'all'}"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
type variable struct {
	key        string // a context key
	fallback   string // taken where the request has no value; it stands for itself
	hasDefault bool
}

// tokens splits a text. With variables (Version 2012-10-17), "${key}" is a variable and "${*}", "${?}", "${$}" are the
// characters themselves; without (2008-10-17), all of that is text like any other. With wild, "*" and "?" are
// wildcards.
func tokens(text string, variables, wild bool) ([]token, error) {
	var out []token
	for {
		start := -1
		if variables {
			start = strings.Index(text, "${")
		}
		if start < 0 {
			return appendText(out, text, wild), nil
		}
		out = appendText(out, text[:start], wild)
		rest := text[start+2:]
		if len(rest) > 1 && rest[1] == '}' && strings.IndexByte("*?$", rest[0]) >= 0 {
			out, text = literal(out, rest[:1]), rest[2:]
			continue
		}
		v, n, err := readVariable(rest)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", text, err)
		}
		out, text = append(out, token{kind: tokenVariable, v: &v}), rest[n:]
	}
}

// readVariable reads what follows "${" and returns how many bytes it took, the closing brace among them.
func readVariable(s string) (v variable, n int, err error) {
	end := strings.IndexAny(s, ",}")
	if end < 0 {
		return v, 0, fmt.Errorf(`%w: a "${" has no "}"; write "${$}{" for the text itself`, ErrPolicy)
	}
	v.key = strings.TrimSpace(s[:end])
	if v.key == "" || strings.ContainsAny(v.key, "${*?'\"") {
		return v, 0, fmt.Errorf("%w: %q is no name of a policy variable", ErrPolicy, v.key)
	}
	if s[end] == '}' {
		return v, end + 1, nil
	}
	at := end + 1
	for at < len(s) && s[at] == ' ' {
		at++
	}
	if at == len(s) || s[at] != '\'' {
		return v, 0, fmt.Errorf("%w: the default of ${%s} is not in single quotes", ErrPolicy, v.key)
	}
	at++
	quote := strings.IndexByte(s[at:], '\'')
	if quote < 0 {
		return v, 0, fmt.Errorf("%w: the default of ${%s} has no closing quote", ErrPolicy, v.key)
	}
	v.fallback, v.hasDefault = s[at:at+quote], true
	at += quote + 1
	for at < len(s) && s[at] == ' ' {
		at++
	}
	if at == len(s) || s[at] != '}' {
		return v, 0, fmt.Errorf(`%w: no "}" after the default of ${%s}`, ErrPolicy, v.key)
	}
	return v, at + 1, nil
}

// literal appends a text, joined to a literal before it.
func literal(out []token, text string) []token {
	if text == "" {
		return out
	}
	if n := len(out); n > 0 && out[n-1].kind == tokenLiteral {
		out[n-1].text += text
		return out
	}
	return append(out, token{text: text})
}

// appendText appends a text without variables; with wild, "*" and "?" are wildcards, and a run of "*" is one.
func appendText(out []token, text string, wild bool) []token {
	for wild && text != "" {
		i := strings.IndexAny(text, "*?")
		if i < 0 {
			break
		}
		out = literal(out, text[:i])
		switch {
		case text[i] == '?':
			out = append(out, token{kind: tokenOne})
		case len(out) == 0 || out[len(out)-1].kind != tokenMany:
			out = append(out, token{kind: tokenMany})
		}
		text = text[i+1:]
	}
	return literal(out, text)
}

// substitute appends ts to out with each variable as its literal value. It answers no where a variable has no value,
// which then equals nothing ("Policy variables with no value" on the page above), and unsure where one has several.
func (e *environment) substitute(out, ts []token) ([]token, answer) {
	for _, t := range ts {
		if t.kind != tokenVariable {
			out = append(out, t)
			continue
		}
		vs, _ := e.lookup(t.v.key)
		switch {
		case len(vs) == 1:
			t.text = vs[0]
		case len(vs) > 1:
			return out, unsure
		case t.v.hasDefault:
			t.text = t.v.fallback
		default:
			return out, no
		}
		out = append(out, token{text: t.text})
	}
	return out, yes
}
