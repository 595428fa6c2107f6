package scopes

import (
	"fmt"
	"slices"
)

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

// Load reads every *.yaml file of dir, not its folders. It loads all or nothing, and no scope at all is an error.
func Load(dir string) (*Catalog, error) {
	return nil, fmt.Errorf("%w: loading %s", ErrCatalog, dir)
}

// Resolve checks a query against its scope and compiles its permissions.
func (c *Catalog) Resolve(q Query) (Request, error) {
	return Request{}, fmt.Errorf("resolving %q: %w", q.Scope, ErrUnknownScope)
}
