package scopes

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// maxExpansions caps what list parameters can multiply one template to.
const maxExpansions = 256

// param is a Param with its compiled pattern.
type param struct {
	Param
	form *wholePattern // for TypePattern
}

// part is a piece of a template: a literal, or the hole of one parameter.
type part struct {
	literal string
	param   string // empty for a literal
}

type template []part

var placeholder = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// parseTemplate reads "arn:aws:s3:::{bucket}/*". A hole is a parameter's name in braces. "${...}" stays as it is, and
// must be one of IAM's own variables or escapes, which have a colon or are one character: a forgotten "$" before a
// hole is an error, not a variable that AWS leaves empty.
func parseTemplate(s string) (template, error) {
	if s == "" {
		return nil, errors.New("an empty template")
	}
	var out template
	var lit strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] < ' ' || s[i] > '~':
			return nil, fmt.Errorf("%q has a character that is not printable ASCII", s)
		case s[i] == '$':
			end := strings.IndexByte(s[i:], '}')
			if !strings.HasPrefix(s[i:], "${") || end < 0 {
				return nil, fmt.Errorf("%q has a $ that begins no IAM variable", s)
			}
			name := s[i+2 : i+end]
			if !slices.Contains([]string{"*", "?", "$"}, name) && !iamVariable.MatchString(name) {
				return nil, fmt.Errorf("%q: ${%s} is no IAM variable; a parameter is {%s}", s, name, name)
			}
			lit.WriteString(s[i : i+end+1])
			i += end
		case s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 || !placeholder.MatchString(s[i+1:i+end]) {
				return nil, fmt.Errorf("%q has a { that begins no parameter", s)
			}
			if lit.Len() > 0 {
				out = append(out, part{literal: lit.String()})
				lit.Reset()
			}
			out = append(out, part{param: s[i+1 : i+end]})
			i += end
		case s[i] == '}':
			return nil, fmt.Errorf("%q has a } without its {", s)
		default:
			lit.WriteByte(s[i])
		}
	}
	if lit.Len() > 0 {
		out = append(out, part{literal: lit.String()})
	}
	return out, nil
}

var iamVariable = regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z0-9/_.-]+$`)

// names returns the parameters of the template, each once, in order.
func (t template) names() []string {
	var out []string
	for _, p := range t {
		if p.param != "" && !slices.Contains(out, p.param) {
			out = append(out, p.param)
		}
	}
	return out
}

// render fills the holes with every combination of values. The values are canonical; one parameter has the same value
// in all its holes. It fails only where lists multiply past maxExpansions.
func (t template) render(values map[string][]string) ([]string, error) {
	if len(t) == 1 && t[0].param == "" {
		return []string{t[0].literal}, nil
	}
	type hole struct {
		name   string
		values []string
		at     int
	}
	var room [4]hole // as many parameters as most templates have
	holes, n := room[:0], 1
	for _, p := range t {
		if p.param == "" || slices.ContainsFunc(holes, func(h hole) bool { return h.name == p.param }) {
			continue
		}
		h := hole{name: p.param, values: values[p.param]}
		if n *= len(h.values); n > maxExpansions {
			return nil, fmt.Errorf("%w: lists multiply to more than %d", ErrTooLarge, maxExpansions)
		}
		holes = append(holes, h)
	}
	out := make([]string, n)
	var text [128]byte // as long as most are
	for i := range out {
		b := text[:0]
		for _, p := range t {
			if p.param == "" {
				b = append(b, p.literal...)
				continue
			}
			for _, h := range holes {
				if h.name == p.param {
					b = append(b, h.values[h.at]...)
				}
			}
		}
		out[i] = string(b)
		for j := len(holes) - 1; j >= 0; j-- { // the last one goes round first
			if holes[j].at++; holes[j].at < len(holes[j].values) {
				break
			}
			holes[j].at = 0
		}
	}
	return out, nil
}

// pattern returns all that the template can become, a little wider where a type's values are free text.
func (t template) pattern(params map[string]param) glob.Pattern {
	var out glob.Pattern
	for _, p := range t {
		if p.param == "" {
			out = append(out, wild(p.literal)...)
			continue
		}
		typ := params[p.param].Type
		hole := glob.Token{Hole: true}
		if !shapes[typ].delims {
			hole.Not = "/:"
		}
		out = append(out, hole)
		if typ == TypeS3Prefix {
			out = append(out, glob.Literal("/")...)
		}
	}
	return out
}

// wild reads a literal with IAM's wildcards; a "${...}" inside it can be anything.
func wild(s string) glob.Pattern {
	var out glob.Pattern
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return append(out, glob.Wild(s)...)
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return append(out, glob.Wild(s)...)
		}
		out = append(append(out, glob.Wild(s[:i])...), glob.Token{Hole: true})
		s = s[i+end+1:]
	}
}

// text returns the template as it was written.
func (t template) text() string {
	var b strings.Builder
	for _, p := range t {
		if p.param == "" {
			b.WriteString(p.literal)
		} else {
			b.WriteString("{" + p.param + "}")
		}
	}
	return b.String()
}
