package scopes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileBytes caps one scope file.
const maxFileBytes = 256 << 10

// The file's structure. JSONSchema describes the same; a test holds the two together.
type fileScope struct {
	Name        string               `yaml:"name"`
	Description string               `yaml:"description"`
	Provider    string               `yaml:"provider"`
	Role        string               `yaml:"role"`
	Params      map[string]fileParam `yaml:"params"`
	Statements  []fileStatement      `yaml:"statements"`
	Paths       []filePath           `yaml:"paths"`
	Read        string               `yaml:"read"`
	Wrap        bool                 `yaml:"wrap"`
	Outlives    []string             `yaml:"outlives"`
	TTL         fileTTL              `yaml:"ttl"`
	Bindings    fileBindings         `yaml:"bindings"`
}

type fileParam struct {
	Type        string   `yaml:"type"`
	Description string   `yaml:"description"`
	Allowed     []string `yaml:"allowed"`
	List        bool     `yaml:"list"`
	Pattern     string   `yaml:"pattern"`
	Min         *int64   `yaml:"min"`
	Max         *int64   `yaml:"max"`
}

type fileStatement struct {
	Actions    []string                      `yaml:"actions"`
	Resources  []string                      `yaml:"resources"`
	Conditions map[string]map[string]oneMore `yaml:"conditions"`
}

type filePath struct {
	Path         string   `yaml:"path"`
	Capabilities []string `yaml:"capabilities"`
}

type fileTTL struct {
	Default string `yaml:"default"`
	Max     string `yaml:"max"`
}

type fileBindings struct {
	SourceCIDRs []string `yaml:"source_cidrs"`
	Regions     []string `yaml:"regions"`
}

// oneMore is one string or a list of them.
type oneMore []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (o *oneMore) UnmarshalYAML(get func(any) error) error {
	var list []string
	if err := get(&list); err == nil {
		*o = list
		return nil
	}
	var one string
	if err := get(&one); err != nil {
		return err
	}
	*o = []string{one}
	return nil
}

// fault is an error at a place in the file, as a YAML path ("$.statements[0]").
type fault struct {
	path string
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return &fault{path, err}
}

func atf(path, format string, args ...any) error { return at(path, fmt.Errorf(format, args...)) }

// source is one read file with its tree, which knows the positions.
type source struct {
	name string
	tree *ast.File
	doc  fileScope
}

func readSource(path string) (*source, error) {
	s := &source{name: filepath.Base(path)}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCatalog, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%w: %s: no regular file of at most %d bytes", ErrCatalog, s.name, maxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCatalog, err)
	}
	if err := s.parse(b); err != nil {
		return nil, s.locate(err)
	}
	return s, nil
}

func (s *source) parse(b []byte) error {
	if len(b) > maxFileBytes {
		return fmt.Errorf("over %d bytes", maxFileBytes)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return err
	}
	s.tree = tree
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return errors.New("the file is not one YAML document")
	}
	ref := &findReference{}
	ast.Walk(ref, tree.Docs[0].Body)
	if ref.token != nil {
		return &placed{ref.token, errors.New("anchors, aliases and merge keys are not allowed: a scope says all it means in place")}
	}
	return yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&s.doc)
}

type findReference struct{ token *token.Token }

func (f *findReference) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		if f.token == nil {
			f.token = n.GetToken()
		}
	}
	return f
}

// placed is an error at a token.
type placed struct {
	token *token.Token
	err   error
}

func (p *placed) Error() string          { return p.err.Error() }
func (p *placed) GetToken() *token.Token { return p.token }

// locate puts file, line and column before an error.
func (s *source) locate(err error) error {
	line, col := 1, 1
	var text string
	var f *fault
	var y yaml.Error
	var p *placed
	switch {
	case errors.As(err, &f):
		if pos := s.position(f.path); pos != nil {
			line, col = pos.Line, pos.Column
		}
	case errors.As(err, &p):
		line, col = p.token.Position.Line, p.token.Position.Column
	case errors.As(err, &y):
		if t := y.GetToken(); t != nil {
			line, col = t.Position.Line, t.Position.Column
		}
		text = y.GetMessage()
		err = errors.New(text)
	}
	return fmt.Errorf("%w: %s:%d:%d: %w", ErrCatalog, s.name, line, col, err)
}

// position finds a path, or the nearest of its parents that the file has.
func (s *source) position(path string) *token.Position {
	for path != "" && s.tree != nil {
		if p, err := yaml.PathString(path); err == nil {
			if n, err := p.FilterFile(s.tree); err == nil && n != nil {
				return start(n)
			}
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return nil
		}
		path = path[:cut]
	}
	return nil
}

// start is a node's first token: a mapping's own token is the colon after its first key.
func start(n ast.Node) *token.Position {
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 {
			return v.Values[0].Key.GetToken().Position
		}
	case *ast.MappingValueNode:
		return v.Key.GetToken().Position
	}
	return n.GetToken().Position
}
