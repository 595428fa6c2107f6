package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes"
)

type catalogCmd struct {
	Check  catalogCheckCmd  `cmd:"" help:"Load a catalog as the broker would, and show it."`
	Diff   catalogDiffCmd   `cmd:"" help:"Say what is gained and lost from one catalog to another. Leaves with 0 if nothing is gained, 3 if something is, 6 if that is unknown."`
	Lint   catalogLintCmd   `cmd:"" help:"Find scopes that are wider than they have to be. Leaves with 0 if none is, 3 if some are."`
	Schema catalogSchemaCmd `cmd:"" help:"Print the JSON Schema of a scope file, for editors."`
}

type catalogCheckCmd struct {
	Dir     string   `arg:"" help:"The catalog folder."`
	Ceiling []string `help:"Prove that the scopes of ROLE give no more than FILE has, the role's own policy: IAM's JSON for aws, HCL for vault. Repeat it for more roles, or more files of one." placeholder:"ROLE=FILE" sep:"none"`

	enforcedBy
}

// enforcedBy says what enforces the AWS roles of a catalog that no config goes with.
type enforcedBy struct {
	Dialect string `help:"What enforces the AWS roles: aws, minio, radosgw or versitygw. Default: what is said holds for each that could." placeholder:"DIALECT"`
}

// under is the catalog with what was said of its roles.
func (e enforcedBy) under(cat *scopes.Catalog) (*scopes.Catalog, error) {
	d, err := dialectFlag(e.Dialect)
	if err != nil || d == "" {
		return cat, err
	}
	return cat.For(d)
}

// checkedScope is the JSON form of one scope of a catalog on disk.
type checkedScope struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Provider string `json:"provider"`
	Role     string `json:"role"`
	Tier     string `json:"tier"`
	Default  string `json:"default_ttl"`
	Max      string `json:"max_ttl"`
	// Ceiling names the files that the scope was proven under; empty where nobody asked.
	Ceiling string `json:"ceiling,omitempty"`
}

type checkedCatalog struct {
	Version string         `json:"version"`
	Scopes  []checkedScope `json:"scopes"`
}

func (c *catalogCheckCmd) Run(out *output) error {
	cat, err := scopes.Load(c.Dir)
	if err != nil {
		return err
	}
	if cat, err = c.under(cat); err != nil {
		return err
	}
	roles, err := c.roles(cat)
	if err != nil {
		return err
	}
	if err := cat.ProveCeilings(roles); err != nil {
		return err
	}
	res := checkedCatalog{Version: cat.Version()}
	for _, s := range cat.Scopes() {
		res.Scopes = append(res.Scopes, checkedScope{
			Name: s.Name(), Version: s.Version(), Provider: string(s.Provider()), Role: s.Role(),
			Tier: s.Tier().String(), Default: s.DefaultTTL().String(), Max: s.MaxTTL().String(),
			Ceiling: roles[s.Role()].Files(),
		})
	}
	if out.json() {
		return out.value(res)
	}
	rows := [][]string{{"SCOPE", "PROVIDER", "ROLE", "TIER", "TTL", "MAX", "CEILING"}}
	for _, s := range res.Scopes {
		rows = append(rows, []string{s.Name, s.Provider, s.Role, s.Tier, s.Default, s.Max, cmp.Or(clean(s.Ceiling), "not asked")})
	}
	if err := out.table(rows); err != nil {
		return err
	}
	out.say("%d scopes, catalog %s", len(res.Scopes), res.Version)
	return nil
}

// roles loads the ceilings that were named.
func (c *catalogCheckCmd) roles(cat *scopes.Catalog) (map[string]scopes.RoleCeiling, error) {
	files := map[string][]string{}
	for _, arg := range c.Ceiling {
		role, file, ok := strings.Cut(arg, "=")
		if !ok || role == "" || file == "" {
			return nil, &usageError{fmt.Sprintf("--ceiling %q is not ROLE=FILE", arg)}
		}
		files[role] = append(files[role], file)
	}
	out := map[string]scopes.RoleCeiling{}
	for _, s := range cat.Scopes() {
		of, asked := files[s.Role()]
		if _, done := out[s.Role()]; !asked || done {
			continue
		}
		ceiling, err := scopes.LoadCeiling(s.Provider(), of...)
		if err != nil {
			return nil, err
		}
		out[s.Role()] = ceiling
	}
	for role := range files {
		if _, ok := out[role]; !ok {
			return nil, fmt.Errorf("--ceiling %s=...: no scope of the catalog names role %q", role, role)
		}
	}
	return out, nil
}

type catalogSchemaCmd struct{}

func (c *catalogSchemaCmd) Run(out *output) error {
	schema, err := scopes.JSONSchema()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out.stdout, "%s\n", schema); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
