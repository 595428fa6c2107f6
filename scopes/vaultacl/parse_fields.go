package vaultacl

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

// field reads one key of a path stanza into r.
func (r *PathRule) field(f pair) (err error) {
	val := f.val
	switch f.key {
	case "comment":
		r.Comment, err = literalString(val)
	case "policy":
		err = r.legacy(val)
	case "capabilities":
		var words []string
		words, err = stringList(val, func(s string) string {
			if capOf(s) == 0 {
				return "unknown capability " + strconv.Quote(s) + "; known are " + strings.Join(capNames(), ", ")
			}
			return ""
		})
		r.Capabilities = append(r.Capabilities, words...)
	case "allowed_parameters":
		r.Allowed, err = parameters(val)
	case "denied_parameters":
		r.Denied, err = parameters(val)
	case "required_parameters":
		r.Required, err = stringList(val, nil)
	case "min_wrapping_ttl":
		r.MinWrap, err = duration(val)
	case "max_wrapping_ttl":
		r.MaxWrap, err = duration(val)
	case "mfa_methods":
		r.MFAMethods, err = stringList(val, nil)
	case "subscribe_event_types":
		r.SubscribeEventTypes, err = stringList(val, nil)
	case "control_group":
		return at(f.pos, "control_group is for Vault Enterprise and is not modelled: "+
			"whether a request passes would depend on people")
	default:
		return at(f.pos, "unknown key %q in a path stanza", f.key)
	}
	return err
}

// legacy reads the "policy" of old; Vault adds what it stands for to the capabilities.
func (r *PathRule) legacy(val ast.Node) error {
	word, err := literalString(val)
	if err != nil {
		return err
	}
	switch word {
	case "":
	case "deny":
		r.Capabilities = append(r.Capabilities, "deny")
	case "read":
		r.Capabilities = append(r.Capabilities, "read", "list")
	case "write":
		r.Capabilities = append(r.Capabilities, "create", "read", "update", "delete", "list")
	case "sudo":
		r.Capabilities = append(r.Capabilities, "create", "read", "update", "delete", "list", "sudo")
	default:
		return at(val.Pos(), "unknown policy %q; known are read, write, sudo, deny", word)
	}
	return nil
}

func literalString(n ast.Node) (string, error) {
	l, ok := n.(*ast.LiteralType)
	if !ok || (l.Token.Type != token.STRING && l.Token.Type != token.HEREDOC) {
		return "", at(n.Pos(), "want a string")
	}
	return str(l.Token)
}

// elements returns the members of a list. HCL often takes a single value for a list of one, but not here.
func elements(n ast.Node) ([]ast.Node, error) {
	l, ok := n.(*ast.ListType)
	if !ok {
		return nil, at(n.Pos(), "want a list [ ... ]")
	}
	return l.List, nil
}

// stringList reads a list of strings, without repetitions and in the order of the text. bad, if given, says what is
// wrong with one.
func stringList(n ast.Node, bad func(string) string) ([]string, error) {
	list, err := elements(n)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		s, err := literalString(e)
		if err != nil {
			return nil, err
		}
		if bad != nil {
			if msg := bad(s); msg != "" {
				return nil, at(e.Pos(), "%s", msg)
			}
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// parameters reads allowed_parameters or denied_parameters.
func parameters(n ast.Node) (map[string][]any, error) {
	fields, err := object(n)
	if err != nil {
		return nil, err
	}
	var out map[string][]any
	for _, f := range fields {
		name := strings.ToLower(f.key)
		if _, ok := out[name]; ok {
			return nil, at(f.pos, "%q is there in two spellings; Vault would pick one at random", name)
		}
		list, err := elements(f.val)
		if err != nil {
			return nil, err
		}
		values := []any{}
		for _, e := range list {
			v, err := value(e)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		if out == nil {
			out = map[string][]any{}
		}
		out[name] = values
	}
	return out, nil
}

// value reads one value that a parameter may have.
func value(n ast.Node) (any, error) {
	l, ok := n.(*ast.LiteralType)
	if !ok {
		return nil, at(n.Pos(), "a list or an object as the value of a parameter is not modelled")
	}
	switch l.Token.Type {
	case token.BOOL:
		return l.Token.Text == "true", nil
	case token.NUMBER:
		if _, err := strconv.ParseInt(l.Token.Text, 0, 64); err != nil {
			return nil, at(n.Pos(), "a number that Vault cannot read: %s", l.Token.Text)
		}
		return Number(l.Token.Text), nil
	case token.FLOAT:
		if _, err := strconv.ParseFloat(l.Token.Text, 64); err != nil {
			return nil, at(n.Pos(), "a number that Vault cannot read: %s", l.Token.Text)
		}
		return Number(l.Token.Text), nil
	default:
		return literalString(n)
	}
}

// duration reads a duration as Vault does: "5m", "1d", or seconds.
func duration(n ast.Node) (time.Duration, error) {
	l, ok := n.(*ast.LiteralType)
	if !ok {
		return 0, at(n.Pos(), "want a duration")
	}
	text := l.Token.Text
	if l.Token.Type != token.NUMBER {
		var err error
		if text, err = literalString(n); err != nil {
			return 0, err
		}
	}
	d, err := parseutil.ParseDurationSecond(text)
	switch {
	case err != nil:
		return 0, at(n.Pos(), "no duration: %s", text)
	case d < 0:
		return 0, at(n.Pos(), "a negative duration: %s", text)
	}
	return d, nil
}

func unquoteJSON(text string) (string, error) { return strconv.Unquote(text) }
