package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// settingsFile sits beside the .cedar files.
const settingsFile = "policy.yaml"

var (
	groupName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	attrSegment = regexp.MustCompile(`^\{([a-z][a-z0-9_]{0,63})\}$`)
)

// settings is policies/policy.yaml: what the schema needs and the catalog does not know.
type settings struct {
	// ApprovalGroups are the groups whose approvals policies may count. "any" is always there.
	ApprovalGroups []string `yaml:"approval_groups"`
	// AgentPaths are the path templates of agents' SPIFFE IDs, as the broker's config has them. Their segments become
	// attributes of the principal. The ID of a single agent is a template too, one without attributes.
	AgentPaths []string `yaml:"agent_paths"`
}

// readSettings reads the file; where there is none, there are no groups but "any" and no attributes.
func readSettings(file string) (settings, error) {
	var s settings
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading policy settings: %w", err)
	}
	if err := strictYAML(file, data, &s); err != nil {
		return s, err
	}
	seen := map[string]bool{}
	for _, g := range s.ApprovalGroups {
		switch {
		case !groupName.MatchString(g):
			return s, fmt.Errorf("%s: approval group %q: want %s", file, g, groupName)
		case g == AnyGroup:
			return s, fmt.Errorf("%s: approval group %q is always there and cannot be declared", file, g)
		case seen[g]:
			return s, fmt.Errorf("%s: approval group %q comes twice", file, g)
		}
		seen[g] = true
	}
	return s, nil
}

// strictYAML decodes exactly one document; an unknown or repeated key is an error with its line and column.
func strictYAML(file string, data []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %s", filepath.ToSlash(file), strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", filepath.ToSlash(file))
	}
	return nil
}

// pathTemplate is a parsed "/agent/{user}/{session}", or with a trust domain in front, "spiffe://example.org/ci/{job}".
type pathTemplate struct {
	trustDomain string // empty: any
	segments    []string
}

func parseTemplate(text string) (pathTemplate, error) {
	var t pathTemplate
	path := text
	if rest, ok := strings.CutPrefix(text, "spiffe://"); ok {
		domain, tail, _ := strings.Cut(rest, "/")
		if _, err := spiffeid.TrustDomainFromString(domain); err != nil {
			return t, fmt.Errorf("agent path %q: %w", text, err)
		}
		t.trustDomain, path = domain, "/"+tail
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return t, fmt.Errorf("agent path %q begins neither with / nor with spiffe://", text)
	}
	t.segments = strings.Split(rest, "/")
	var names []string
	for _, segment := range t.segments {
		name := attrSegment.FindStringSubmatch(segment)
		switch {
		case name == nil && spiffeid.ValidatePath("/"+segment) != nil:
			return t, fmt.Errorf("agent path %q: segment %q is neither a name nor {attribute}", text, segment)
		case name == nil:
		case name[1] == attrTrustDomain || name[1] == attrPath || slices.Contains(names, name[1]):
			return t, fmt.Errorf("agent path %q: attribute %q is taken", text, name[1])
		default:
			names = append(names, name[1])
		}
	}
	return t, nil
}

// attributes names what the template yields; none for the path of one agent.
func (t pathTemplate) attributes() []string {
	var names []string
	for _, segment := range t.segments {
		if m := attrSegment.FindStringSubmatch(segment); m != nil {
			names = append(names, m[1])
		}
	}
	return names
}

// match gives the attributes of an ID, or false where it does not fit. Only tables need it: real agents come with theirs.
func (t pathTemplate) match(id spiffeid.ID) (map[string]string, bool) {
	parts := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	if t.trustDomain != "" && t.trustDomain != id.TrustDomain().Name() || len(parts) != len(t.segments) {
		return nil, false
	}
	attrs := map[string]string{}
	for i, segment := range t.segments {
		if m := attrSegment.FindStringSubmatch(segment); m != nil && parts[i] != "" {
			attrs[m[1]] = parts[i]
		} else if segment != parts[i] {
			return nil, false
		}
	}
	return attrs, true
}
