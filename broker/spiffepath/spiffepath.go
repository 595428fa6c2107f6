// Package spiffepath reads path templates: which SPIFFE IDs are meant, and what their segments say.
//
// A template is a path such as "/agent/{user}/{session}", which holds in every trust domain, or a whole ID such as
// "spiffe://example.org/ci/{job}", which holds in that one alone. Each segment is a literal, or a whole attribute in braces.
// Nothing is a prefix match and no segment spans two.
package spiffepath

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Template is a parsed path template. The zero value matches nothing.
type Template struct {
	text        string
	trustDomain spiffeid.TrustDomain
	segments    []segment
}

// segment is a literal or, where attribute is not empty, a whole segment that becomes that attribute.
type segment struct{ literal, attribute string }

// Parse reads a template. Its error has the text.
func Parse(text string) (Template, error) {
	t, err := read(text)
	if err != nil {
		return Template{}, fmt.Errorf("parsing path template %q: %w", text, err)
	}
	return t, nil
}

func read(text string) (Template, error) {
	t, path := Template{text: text}, text
	if rest, ok := strings.CutPrefix(text, "spiffe://"); ok {
		name, tail, found := strings.Cut(rest, "/")
		if !found {
			return t, errors.New("no path after the trust domain")
		}
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return t, err
		}
		t.trustDomain, path = domain, "/"+tail
	}
	if !strings.HasPrefix(path, "/") {
		return t, errors.New("it must begin with / or spiffe://")
	}
	seen := make(map[string]bool)
	for _, part := range strings.Split(path[1:], "/") {
		s, err := parseSegment(part)
		if err != nil {
			return t, err
		}
		if s.attribute != "" && seen[s.attribute] {
			return t, fmt.Errorf("attribute %q appears twice", s.attribute)
		}
		seen[s.attribute] = true
		t.segments = append(t.segments, s)
	}
	return t, nil
}

func parseSegment(part string) (segment, error) {
	if name, ok := strings.CutPrefix(part, "{"); ok {
		name, ok = strings.CutSuffix(name, "}")
		if !ok || !attributeName.MatchString(name) {
			return segment{}, fmt.Errorf("segment %q is no {attribute}: want %s in braces", part, attributeName)
		}
		return segment{attribute: name}, nil
	}
	// Braces inside a literal fall out here: SPIFFE paths have none.
	if err := spiffeid.ValidatePath("/" + part); err != nil {
		return segment{}, fmt.Errorf("segment %q: %w", part, err)
	}
	return segment{literal: part}, nil
}

// String is the template as it was written.
func (t Template) String() string { return t.text }

// TrustDomain is the one that the template holds in; zero where that is each.
func (t Template) TrustDomain() spiffeid.TrustDomain { return t.trustDomain }

// Attributes returns the names that the template gives, in their order; none for the path of one ID.
func (t Template) Attributes() []string {
	var names []string
	for _, s := range t.segments {
		if s.attribute != "" {
			names = append(names, s.attribute)
		}
	}
	return names
}

// Match gives the attributes of an ID that fits.
func (t Template) Match(id spiffeid.ID) (map[string]string, bool) {
	if !t.trustDomain.IsZero() && t.trustDomain != id.TrustDomain() {
		return nil, false
	}
	parts := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	if id.Path() == "" || len(parts) != len(t.segments) {
		return nil, false
	}
	attributes := make(map[string]string, len(parts))
	for i, s := range t.segments {
		switch {
		case s.attribute != "":
			attributes[s.attribute] = parts[i]
		case s.literal != parts[i]:
			return nil, false
		}
	}
	return attributes, true
}

// Shape is equal for two templates that match the same IDs.
func (t Template) Shape() string {
	var b strings.Builder
	b.WriteString(t.trustDomain.Name())
	for _, s := range t.segments {
		b.WriteString("/" + s.literal)
	}
	return b.String()
}
