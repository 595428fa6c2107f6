package scopes

import "github.com/valetkey/valetkey/scopes/iam"

// Sealed are permissions that were checked and printed once, and never change. Only Seal and a Request give them; the
// zero value is none.
type Sealed struct {
	permissions Permissions
	canonical   string
	digest      string
}

// Seal checks the permissions as Canonical does, and keeps a copy.
func (p Permissions) Seal() (Sealed, error) {
	p = p.Clone()
	text, err := p.Canonical()
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{permissions: p, canonical: string(text), digest: digestOf(text)}, nil
}

// Sealed gives the compiled permissions with their text.
func (r Request) Sealed() Sealed {
	return Sealed{permissions: r.permissions, canonical: r.canonical, digest: r.digest}
}

// Valid tells whether s is not the zero value.
func (s Sealed) Valid() bool { return s.canonical != "" }

// Permissions returns a copy, the caller's own.
func (s Sealed) Permissions() Permissions { return s.permissions.Clone() }

// Dialect is the permissions' own.
func (s Sealed) Dialect() iam.Dialect { return s.permissions.Dialect }

// VaultRead is the permissions' own.
func (s Sealed) VaultRead() string { return s.permissions.VaultRead }

// Canonical is Permissions().Canonical.
func (s Sealed) Canonical() string { return s.canonical }

// Digest is Permissions().Digest.
func (s Sealed) Digest() string { return s.digest }

// MarshalJSON gives Canonical, and null for none.
func (s Sealed) MarshalJSON() ([]byte, error) {
	if !s.Valid() {
		return []byte("null"), nil
	}
	return []byte(s.canonical), nil
}
