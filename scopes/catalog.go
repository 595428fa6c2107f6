package scopes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/jcs"
	"github.com/valetkey/valetkey/scopes/plaintext"
)

// maxFiles caps one catalog.
const maxFiles = 10_000

// Catalog is a loaded folder of scopes. It never changes and is safe for concurrent use.
type Catalog struct {
	version string
	scopes  []*Scope // sorted by name
	byName  map[string]*Scope
}

// Version returns "sha256:" and the hex digest over all scopes' names and versions.
func (c *Catalog) Version() string { return c.version }

// Scopes returns the scopes, sorted by name.
func (c *Catalog) Scopes() []*Scope { return slices.Clone(c.scopes) }

// Scope returns the scope of that name.
func (c *Catalog) Scope(name string) (*Scope, bool) {
	s, ok := c.byName[name]
	return s, ok
}

// Load reads every *.yaml file of dir, not its folders. It loads all or nothing, no scope at all is an error, and the
// error, which wraps ErrCatalog, has a line "FILE:LINE:COLUMN: why" for every file at fault.
func Load(dir string) (*Catalog, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCatalog, err)
	}
	c := &Catalog{byName: map[string]*Scope{}}
	var faults []error
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case e.IsDir() || strings.HasPrefix(e.Name(), "."):
			continue
		case (ext == ".yml" || ext == ".yaml") && plaintext.Line(e.Name()) != nil: // it would be lines of its own in every error
			faults = append(faults, fmt.Errorf("%w: %q: the name of a scope's file is one line of characters that can be seen", ErrCatalog, e.Name()))
			continue
		case ext == ".yml":
			faults = append(faults, fmt.Errorf("%w: %s: a scope's file ends in .yaml", ErrCatalog, e.Name()))
			continue
		case ext != ".yaml":
			continue
		}
		if err := c.add(filepath.Join(dir, e.Name())); err != nil {
			faults = append(faults, err)
		}
	}
	switch {
	case len(faults) > 0:
		return nil, errors.Join(faults...)
	case len(c.scopes) == 0:
		return nil, fmt.Errorf("%w: %s has no *.yaml file", ErrCatalog, dir)
	case len(c.scopes) > maxFiles:
		return nil, fmt.Errorf("%w: %d scopes are over the %d allowed", ErrCatalog, len(c.scopes), maxFiles)
	}
	slices.SortFunc(c.scopes, func(a, b *Scope) int { return strings.Compare(a.name, b.name) })
	h := sha256.New()
	for _, s := range c.scopes {
		h.Write(fmt.Appendf(nil, "%s %s\n", s.name, s.version)) // a hash takes every write
	}
	c.version = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return c, nil
}

func (c *Catalog) add(path string) error {
	src, err := readSource(path)
	if err != nil {
		return err
	}
	s, err := compile(src.doc)
	if err != nil {
		return src.locate(err)
	}
	s.file, s.outline = src.name, outlineOf(src.doc)
	s.locate(src.locate)
	if _, ok := c.byName[s.name]; ok {
		return src.locate(atf("$.name", "another file has a scope %q too", s.name))
	}
	c.byName[s.name] = s
	c.scopes = append(c.scopes, s)
	return nil
}

// fingerprint hashes everything that gives the scope its meaning.
func fingerprint(s *Scope) (string, error) {
	type rule struct {
		Actions      []string                       `json:"actions,omitempty"`
		Resources    []string                       `json:"resources,omitempty"`
		Conditions   map[string]map[string][]string `json:"conditions,omitempty"`
		Path         string                         `json:"path,omitempty"`
		Capabilities []string                       `json:"capabilities,omitempty"`
	}
	texts := func(ts []template) []string {
		var out []string
		for _, t := range ts {
			out = append(out, t.text())
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	var rules []rule
	for _, st := range s.statements {
		r := rule{Actions: st.actions, Resources: texts(st.resources), Conditions: map[string]map[string][]string{}}
		for op, keys := range st.conditions {
			r.Conditions[op] = map[string][]string{}
			for k, ts := range keys {
				r.Conditions[op][k] = texts(ts)
			}
		}
		rules = append(rules, r)
	}
	for _, p := range s.paths {
		rules = append(rules, rule{Path: p.path.text(), Capabilities: p.capabilities})
	}
	var reasons []string
	for _, r := range s.reasons {
		reasons = append(reasons, r.tier.String()+" "+r.text)
	}
	slices.Sort(reasons)
	meaning := map[string]any{
		"v": 1, "name": s.name, "description": s.description, "provider": s.provider, "role": s.role, "params": s.params,
		"rules": rules, "read": s.read.text(), "wrap": s.wrap, "default_ttl": s.defaultTTL.String(), "max_ttl": s.maxTTL.String(),
		"source_cidrs": s.sourceCIDRs, "tier": s.tier.String(), "tier_reasons": reasons, "sensitive": s.sensitive,
	}
	if len(s.regions) > 0 { // so that a scope without them has the version it had before there were any
		meaning["regions"] = s.regions
	}
	canonical, err := jcs.Marshal(meaning)
	if err != nil {
		return "", fmt.Errorf("hashing scope %q: %w", s.name, err)
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
