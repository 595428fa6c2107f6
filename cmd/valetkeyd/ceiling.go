package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/valetkey/valetkey/scopes"
)

// unproven is the word for no proof.
const unproven = "unproven"

// Ceiling names the files of a role's ceiling, or is the one word "unproven".
type Ceiling []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: one string or a list.
func (c *Ceiling) UnmarshalYAML(get func(any) error) error {
	var list []string
	if err := get(&list); err == nil {
		*c = list
		return nil
	}
	var one string
	if err := get(&one); err != nil {
		return err
	}
	*c = Ceiling{one}
	return nil
}

func (c Ceiling) unproven() bool { return slices.Contains(c, unproven) }

// from makes relative paths those of a folder.
func (c Ceiling) from(dir string) Ceiling {
	if c.unproven() {
		return c
	}
	out := make(Ceiling, len(c))
	for i, file := range c {
		if out[i] = file; !filepath.IsAbs(file) {
			out[i] = filepath.Join(dir, file)
		}
	}
	return out
}

// proveCeilings proves that no scope can give more than its role has. The files are read each time, so that a reload
// sees them as they are.
func (c Config) proveCeilings(cat *scopes.Catalog) error {
	roles := map[string]scopes.RoleCeiling{}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(c.Roles)) {
		r := c.Roles[name]
		if r.Ceiling.unproven() {
			continue
		}
		ceiling, err := scopes.LoadCeiling(scopes.Provider(r.Provider), r.Ceiling...)
		if err != nil {
			faults = append(faults, fmt.Errorf("role %q: %w", name, err))
		}
		roles[name] = ceiling
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return cat.ProveCeilings(roles)
}

// unproven names the roles whose scopes nobody holds against a ceiling.
func (c Config) unproven() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.Roles)) {
		if c.Roles[name].Ceiling.unproven() {
			out = append(out, name)
		}
	}
	return out
}

// ceilings says, a line for each role, what has been proven of a catalog that loads.
func (c Config) ceilings(cat *scopes.Catalog) []string {
	count := map[string]int{}
	for _, s := range cat.Scopes() {
		count[s.Role()]++
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.Roles)) {
		if r := c.Roles[name]; r.Ceiling.unproven() {
			out = append(out, fmt.Sprintf("role %s: UNPROVEN, nothing checks that its %d scopes give no more than it should", name, count[name]))
		} else {
			out = append(out, fmt.Sprintf("role %s: %d scopes proven under %v", name, count[name], []string(r.Ceiling)))
		}
	}
	return out
}
