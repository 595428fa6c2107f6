package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// template is a parsed path template.
type template struct {
	// trustDomain is zero where the template holds for every listed domain.
	trustDomain spiffeid.TrustDomain
	segments    []segment
}

// segment is a literal or, where attribute is not empty, a whole segment that
// becomes that attribute.
type segment struct {
	literal   string
	attribute string
}

// parseTemplate reads "/agent/{user}/{session}", or with a trust domain in
// front, "spiffe://example.org/agent/{user}", which holds there alone.
func parseTemplate(text string) (template, error) {
	t, err := readTemplate(text)
	if err != nil {
		return template{}, fmt.Errorf("parsing path template %q: %w", text, err)
	}
	return t, nil
}

// TemplateAttributes returns the names that a path template gives, in their order.
func TemplateAttributes(text string) ([]string, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range t.segments {
		if s.attribute != "" {
			names = append(names, s.attribute)
		}
	}
	return names, nil
}

// CheckNoAgent is an error where a SPIFFE ID fits a path template, and so is an
// agent's, or where it is none.
func CheckNoAgent(id string, templates []string) error {
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return fmt.Errorf("reading SPIFFE ID %q: %w", id, err)
	}
	for _, text := range templates {
		t, err := parseTemplate(text)
		if err != nil {
			return err
		}
		if _, fits := t.match(parsed); fits {
			return fmt.Errorf("%s fits path template %q, so that it is an agent's", id, text)
		}
	}
	return nil
}

func readTemplate(text string) (template, error) {
	var t template
	path := text
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

// match gives the attributes of an ID that fits, segment by segment. Nothing is
// a prefix match and no segment spans two.
func (t template) match(id spiffeid.ID) (map[string]string, bool) {
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

// shape is equal for two templates that match the same IDs.
func (t template) shape() string {
	var b strings.Builder
	b.WriteString(t.trustDomain.Name())
	for _, s := range t.segments {
		b.WriteString("/" + s.literal)
	}
	return b.String()
}
