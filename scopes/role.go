package scopes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// maxCeilingBytes caps one file of a role's ceiling. AWS allows 10 managed policies of 6,144 characters a role.
const maxCeilingBytes = 1 << 20

// RoleCeiling is what one of the broker's roles has, or may give: no scope of the role can give more. For AWS it is the
// role's own identity policies. Vault makes tokens without a parent, which nothing there limits, so that for Vault it
// is the most that the operator lets the broker give, and read for others. The zero value has nothing.
type RoleCeiling struct {
	files []string // base names
	aws   []iam.Policy
	vault []vaultacl.Policy
}

// Files returns the base names of the files, joined for people.
func (r RoleCeiling) Files() string { return strings.Join(r.files, ", ") }

// LoadCeiling reads a role's ceiling: files of IAM policy documents, each one document or a JSON list of them, or of
// Vault policies in HCL or JSON. The documents count together, as the policies of one role or token do. Its errors wrap
// ErrCatalog and name the file.
func LoadCeiling(p Provider, files ...string) (RoleCeiling, error) {
	var out RoleCeiling
	var faults []error
	for _, file := range files {
		if err := out.read(p, file); err != nil {
			faults = append(faults, fmt.Errorf("%w: role ceiling %s: %w", ErrCatalog, file, err))
		}
	}
	switch {
	case len(faults) > 0:
		return RoleCeiling{}, errors.Join(faults...)
	case len(out.aws)+len(out.vault) == 0:
		return RoleCeiling{}, fmt.Errorf("%w: a role ceiling without a policy", ErrCatalog)
	}
	return out, nil
}

func (r *RoleCeiling) read(p Provider, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCeilingBytes {
		return fmt.Errorf("no regular file of at most %d bytes", maxCeilingBytes)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	r.files = append(r.files, name)
	if p == ProviderVault {
		policy, err := vaultacl.Parse(text)
		policy.Name = name
		r.vault = append(r.vault, policy)
		return err
	}
	documents := []json.RawMessage{text}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		documents = nil
		if err := json.Unmarshal(text, &documents); err != nil {
			return err
		}
	}
	for _, d := range documents {
		policy, err := iam.Parse(d)
		if err != nil {
			return err
		}
		r.aws = append(r.aws, policy)
	}
	return nil
}

// ProveCeilings proves that each scope whose role is in the map can give nothing that the role's ceiling has not, at
// its widest parameters: as its role's dialect reads both, or every one that could be the role's, where the catalog is not
// Under its roles. Its error wraps ErrCeiling and has a line for every scope that could not be proven: with the
// widest request that shows it where there is one, and otherwise with what stopped the proof.
func (c *Catalog) ProveCeilings(roles map[string]RoleCeiling) error {
	var faults []error
	for _, s := range c.scopes {
		if r, ok := roles[s.role]; ok {
			if err := s.proveUnder(r); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return errors.Join(faults...)
}

func (s *Scope) proveUnder(r RoleCeiling) error {
	over := func(allows string) error {
		return fmt.Errorf("%w: %s: scope %q at its widest parameters allows %s, and role %q does not by %s; "+
			"narrow the scope or list a parameter's allowed values, or give the role more", ErrCeiling, s.file, s.name, allows, s.role, r.Files())
	}
	unknown := func(why string) error {
		return fmt.Errorf("%w: %s: whether role %q by %s has all that scope %q allows at its widest parameters cannot be told: %s; "+
			"write either without it", ErrCeiling, s.file, s.role, r.Files(), s.name, why)
	}
	if s.provider == ProviderVault {
		c := vaultacl.Covers(r.vault, s.ceilingVault)
		switch {
		case c.Answer == vaultacl.Yes:
			return nil
		case c.Answer == vaultacl.No && c.Witness != nil:
			return over(c.Witness.String())
		}
		return unknown(c.Why)
	}
	dialects := s.Dialects()
	possible := slices.DeleteFunc(slices.Clone(dialects), func(d iam.Dialect) bool { return r.impossible(d) })
	if len(possible) == 0 {
		possible = dialects // none can have the role: each says why
	}
	for _, d := range possible {
		if err := s.proveUnderAWS(d, r, over, unknown); err != nil {
			return err
		}
	}
	return nil
}

// impossible tells whether the dialect's enforcer cannot have such a role, as far as is known.
func (r RoleCeiling) impossible(d iam.Dialect) bool {
	return slices.ContainsFunc(r.aws, func(p iam.Policy) bool { return errors.Is(d.Models(p), iam.ErrDialect) })
}

// proveUnderAWS is proveUnder for one dialect.
func (s *Scope) proveUnderAWS(d iam.Dialect, r RoleCeiling, over func(allows string) error, unknown func(why string) error) error {
	for _, p := range r.aws {
		if err := d.Models(p); err != nil {
			return unknown(err.Error())
		}
	}
	c, err := iam.Covers(d, r.aws, []iam.Policy{s.enforced[d].ceiling})
	switch {
	case err != nil:
		return unknown(err.Error())
	case c.Answer == iam.Yes:
		return nil
	case c.Answer == iam.No && c.Witness != nil:
		return over(s.plainest(d, r, *c.Witness).String())
	}
	return unknown(c.Why)
}

// plainest returns a witness with values that a caller could send, where the scope's shortest ones show the same, and
// otherwise the one that was found, which may have the odd characters that a pattern takes and no value has.
func (s *Scope) plainest(d iam.Dialect, r RoleCeiling, found iam.Request) iam.Request {
	values, real := s.examples()
	p, err := s.renderAWS(d, values)
	if err != nil || !real {
		return found
	}
	if c, err := iam.Covers(d, r.aws, []iam.Policy{*p.AWS}); err == nil && c.Witness != nil {
		return *c.Witness
	}
	return found
}

// examples returns shortest values. real tells whether they are all allowed: the example of a pattern has its length at
// the least, and not its form.
func (s *Scope) examples() (values map[string][]string, real bool) {
	values, real = map[string][]string{}, true
	for name, p := range s.compiled {
		values[name] = []string{p.example()}
		if _, err := p.canonical(p.example()); err != nil {
			real = false
		}
	}
	return values, real
}
