package vaultacl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// maxText bounds what Parse takes, in bytes. Vault's own bound on a request is 32 MiB; no policy is near either.
const maxText = 1 << 20

// Parse reads a policy in HCL, or in the JSON that HCL has, as Vault does. Its errors are a *SyntaxError.
func Parse(text []byte) (p Policy, err error) {
	// The HCL library is known to panic on some broken numbers, escapes and heredocs.
	defer func() {
		if v := recover(); v != nil {
			p, err = Policy{}, &SyntaxError{1, 1, fmt.Sprintf("not HCL: %v", v)}
		}
	}()
	if len(text) > maxText {
		return Policy{}, &SyntaxError{1, 1, fmt.Sprintf("%d bytes are over the limit of %d", len(text), maxText)}
	}
	if bytes.HasPrefix(text, []byte("\uFEFF")) {
		return Policy{}, &SyntaxError{1, 1, "the text begins with a byte order mark; save it as UTF-8 without one"}
	}
	if !utf8.Valid(text) {
		return Policy{}, &SyntaxError{1, 1, "not UTF-8"}
	}
	list, err := parseList(string(text))
	if err != nil {
		return Policy{}, err
	}
	named := false
	for _, item := range list.Items {
		key, err := str(item.Keys[0].Token)
		if err != nil {
			return Policy{}, err
		}
		switch {
		case key == "name" && len(item.Keys) == 1:
			if _, err := literalString(item.Val); err != nil {
				return Policy{}, err
			}
			if named {
				return Policy{}, at(item.Keys[0].Pos(), `"name" is there twice`)
			}
			named = true
		case key == "path" && len(item.Keys) == 2:
			r, err := pathRule(item)
			if err != nil {
				return Policy{}, err
			}
			p.Paths = append(p.Paths, r)
		case key == "path":
			return Policy{}, at(item.Keys[0].Pos(), `want: path "..." { ... }`)
		default:
			return Policy{}, at(item.Keys[0].Pos(), "unknown key %q; a policy has path stanzas", key)
		}
	}
	return p, nil
}

// parseList gives the text to the HCL parser.
func parseList(text string) (*ast.ObjectList, error) {
	file, err := hcl.Parse(text)
	var pe *parser.PosError
	switch {
	case errors.As(err, &pe):
		return nil, at(pe.Pos, "%v", pe.Err)
	case err != nil:
		return nil, &SyntaxError{1, 1, err.Error()}
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, &SyntaxError{1, 1, "not an HCL object"}
	}
	for _, item := range list.Items {
		if len(item.Keys) == 0 {
			return nil, at(item.Pos(), "a value without a key")
		}
	}
	return list, nil
}

// at makes a SyntaxError. The JSON parser does not always know its place.
func at(pos token.Pos, format string, args ...any) *SyntaxError {
	return &SyntaxError{max(pos.Line, 1), max(pos.Column, 1), fmt.Sprintf(format, args...)}
}

// pathRule reads one stanza.
func pathRule(item *ast.ObjectItem) (PathRule, error) {
	pos := item.Keys[1].Pos()
	path, err := str(item.Keys[1].Token)
	if err != nil {
		return PathRule{}, err
	}
	if path, err = checkPath(pos, path); err != nil {
		return PathRule{}, err
	}
	r := PathRule{Path: path, Pos: Pos{max(pos.Line, 1), max(pos.Column, 1)}}
	fields, err := object(item.Val)
	if err != nil {
		return PathRule{}, err
	}
	for _, f := range fields {
		if err := r.field(f); err != nil {
			return PathRule{}, err
		}
	}
	if r.MinWrap > 0 && r.MaxWrap > 0 && r.MaxWrap < r.MinWrap {
		return PathRule{}, at(pos, "max_wrapping_ttl is less than min_wrapping_ttl")
	}
	r.Capabilities = capSet(r.Capabilities).names()
	if slices.Contains(r.Capabilities, "deny") {
		// Vault stops reading here.
		r = PathRule{Path: r.Path, Comment: r.Comment, Capabilities: r.Capabilities, Pos: r.Pos}
	}
	return r, nil
}

// checkPath returns the path as Vault keeps it: without its first slash. Before a template the slash stays, since Vault
// takes it off after filling: the value may bring another. A path that begins with more slashes matches nothing.
func checkPath(pos token.Pos, path string) (string, error) {
	if !strings.HasPrefix(strings.TrimLeft(path, "/"), "{{") {
		path = strings.TrimPrefix(path, "/")
	}
	if strings.Contains(path, "+*") {
		return "", at(pos, `path %q: "+*" is forbidden; write "+" for one segment, or "*" for any suffix`, path)
	}
	path, err := canonicalTemplates(path)
	if err != nil {
		return "", at(pos, "path %q: %v", path, err)
	}
	return path, nil
}

// pair is one key of an object.
type pair struct {
	key string
	pos token.Pos
	val ast.Node
}

// object reads a block or an object; each key may be there once.
func object(n ast.Node) ([]pair, error) {
	o, ok := n.(*ast.ObjectType)
	if !ok {
		return nil, at(n.Pos(), "want a block { ... }")
	}
	var out []pair
	seen := map[string]bool{}
	for _, item := range o.List.Items {
		if len(item.Keys) == 0 {
			return nil, at(item.Pos(), "a value without a key")
		}
		key, err := str(item.Keys[0].Token)
		if err != nil {
			return nil, err
		}
		pos := item.Keys[0].Pos()
		switch {
		case len(item.Keys) != 1:
			return nil, at(pos, "%q takes no label", key)
		case seen[key]:
			return nil, at(pos, "%q is there twice", key)
		}
		seen[key] = true
		out = append(out, pair{key, pos, item.Val})
	}
	return out, nil
}

// str reads a key or a string. An error is a *SyntaxError.
func str(t token.Token) (string, error) {
	var s string
	var err error
	switch {
	case t.Type == token.IDENT:
		s = t.Text
	case t.Type == token.HEREDOC:
		s, _ = t.Value().(string)
	case t.Type == token.STRING && t.Text == "":
		return "", at(t.Pos, "null is no string")
	case t.Type == token.STRING && t.JSON:
		s, err = unquoteJSON(t.Text)
	case t.Type == token.STRING:
		s, err = hclstrconv.Unquote(t.Text)
	default:
		return "", at(t.Pos, "want a string, not %s", t.Text)
	}
	switch {
	case err != nil:
		return "", at(t.Pos, "a string that does not end, or an unknown escape: %s", t.Text)
	case !utf8.ValidString(s):
		return "", at(t.Pos, "a string that is not UTF-8")
	}
	return s, nil
}
