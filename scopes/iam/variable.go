package iam

import (
	"fmt"
	"strings"
)

// variable is a policy variable: "${aws:username}", or with a default "${aws:PrincipalTag/team, 'all'}"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
type variable struct {
	key        string // a context key
	fallback   string // taken where the request has no value
	hasDefault bool
	several    bool // a request may have several values of the key
}

// variableName tells of a condition key: its service, or another issuer of keys, and a name. AWS has no variable without
// ("${Bucket}" and "${AWS::AccountId}" are CloudFormation's, "${var.x}" is Terraform's), and no space in one
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html, "Unsupported space in
// variable").
func variableName(key string) bool {
	issuer, name, ok := strings.Cut(key, ":")
	return ok && issuer != "" && madeOf(issuer, "._/-") && name != "" && name[0] != ':' &&
		!strings.ContainsAny(name, " \t\r\n${}*?'\"")
}

// tokens splits a text and appends it to out. With variables (Version 2012-10-17), "${key}" is a variable and "${*}", "${?}", "${$}" are the
// characters themselves; without (2008-10-17), all of that is text like any other. With wild, "*" and "?" are
// wildcards.
func tokens(out []token, text string, variables, wild bool) ([]token, error) {
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
	v.key = s[:end]
	if !variableName(v.key) {
		return v, 0, fmt.Errorf("%w: %q is no name of a policy variable, such as aws:username; it has a service and a name, and no space",
			ErrPolicy, v.key)
	}
	v.several = multivalued(v.key)
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
	if out == nil {
		out = make([]token, 0, tokensEach)
	}
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

// resolution is what became of a pattern's variables, the worst of them.
type resolution uint8

const (
	resolved   resolution = iota
	ambiguous             // AWS's pages do not say what the value stands for
	unresolved            // AWS may have no value for it, and may then take the whole statement for invalid
	valueless             // the request has no value, and there is no default: likewise, and the pattern equals nothing
)

// substitute appends the tokens to out with each variable as its literal value. Where one is valueless, the pattern
// equals nothing (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html, "Policy variables
// with no value"). Where one is ambiguous or unresolved, "*" stands for it, and what then matches is unsure.
//
// NOTE: On no page is what these stand for. Unresolved are a key of several values, which that page says is no variable;
// an empty value without a default, such as a tag's, since the page on multivalued keys calls it a null data set; and a
// variable before the fifth colon of a resource. Ambiguous are an empty value beside a default, and a value or a default
// with "*", "?" or "${" of its own.
func (e *environment) substitute(out []token, p *pattern) ([]token, resolution) {
	worst := resolved
	for _, t := range p.tokens {
		if t.kind != tokenVariable {
			out = append(out, t)
			continue
		}
		vs, _ := e.lookup(t.v.key)
		text, r := t.v.fallback, resolved
		if len(vs) == 1 {
			text = vs[0]
		}
		switch {
		case len(vs) == 0 && !t.v.hasDefault:
			return out, valueless
		case p.early || t.v.several || len(vs) > 1 || (text == "" && !t.v.hasDefault):
			r = unresolved
		case !plainValue(text):
			r = ambiguous
		}
		worst = max(worst, r)
		if r != resolved {
			out = append(out, token{kind: tokenMany})
			continue
		}
		out = append(out, token{text: text})
	}
	return out, worst
}

// plainValue tells whether a value can stand for itself alone.
func plainValue(s string) bool {
	return s != "" && !strings.ContainsAny(s, "*?") && !strings.Contains(s, "${")
}
