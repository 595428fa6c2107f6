package scopes

import (
	"fmt"
	"slices"
)

// Outline is what a scope's file says that compiling leaves behind. It is for reviewers; nothing is decided on it.
type Outline struct {
	File       string // the file's name within the catalog's folder
	Statements []OutlineStatement
	Paths      []string // Vault paths, or the one path to read, with their holes
}

// OutlineStatement is one AWS statement as it was written.
type OutlineStatement struct {
	Actions   []string // with their wildcards
	Resources []string // with their holes: "arn:aws:s3:::{bucket}/*"
}

// Outline returns what the scope's file says.
func (s *Scope) Outline() Outline {
	out := Outline{File: s.file, Paths: slices.Clone(s.outline.Paths)}
	for _, st := range s.outline.Statements {
		out.Statements = append(out.Statements, OutlineStatement{slices.Clone(st.Actions), slices.Clone(st.Resources)})
	}
	return out
}

// outlineOf takes from a file what Outline tells.
func outlineOf(doc fileScope) Outline {
	var out Outline
	for _, st := range doc.Statements {
		out.Statements = append(out.Statements, OutlineStatement{slices.Clone(st.Actions), slices.Clone(st.Resources)})
	}
	for _, p := range doc.Paths {
		out.Paths = append(out.Paths, p.Path)
	}
	if doc.Read != "" {
		out.Paths = append(out.Paths, doc.Read)
	}
	return out
}

// Accepts tells whether Resolve would take a value for a parameter, whatever the others are. The error wraps
// ErrParameter.
func (s *Scope) Accepts(name, value string) error {
	p, ok := s.compiled[name]
	if !ok {
		return fmt.Errorf("%w: scope has no parameter %q", ErrParameter, name)
	}
	_, err := p.values([]string{value})
	if err == nil && s.provider == ProviderVault {
		err = vaultValue(value)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrParameter, name, err)
	}
	return nil
}
