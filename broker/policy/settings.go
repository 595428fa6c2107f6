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
	"strings"

	"github.com/goccy/go-yaml"
)

// settingsFile sits beside the .cedar files.
const settingsFile = "policy.yaml"

var groupName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// settings is policies/policy.yaml: what the schema needs and the catalog does not know.
type settings struct {
	// ApprovalGroups are the groups whose approvals policies may count. "any" is always there.
	ApprovalGroups []string `yaml:"approval_groups"`
	// AgentPaths are the path templates of agents' SPIFFE IDs, as the broker's config has them. Their segments become
	// attributes of the principal. The ID of a single agent is a template too, one without attributes.
	AgentPaths []string `yaml:"agent_paths"`
	// Environments are told by what was verified of the agent, or by what it asks for.
	Environments environments `yaml:"environments"`
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
