package scopes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/jcs"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// Query is what a caller asks for.
type Query struct {
	Scope   string
	Version string // empty means the current one
	Params  map[string][]string
	TTL     time.Duration // 0 means the scope's default
}

// Request is a resolved query: step 2's evidence for step 3. Only Catalog.Resolve fills it; the zero value is invalid.
// It never changes and is safe for concurrent use.
type Request struct {
	scope       *Scope
	params      map[string][]string
	ttl         time.Duration
	tier        Tier
	reasons     []string
	permissions Permissions
	actions     []string
	resources   []string
	sensitive   []string
}

// Valid tells whether Resolve made the request.
func (r Request) Valid() bool { return r.scope != nil }

// Scope returns the scope, or nil where the request is not valid.
func (r Request) Scope() *Scope { return r.scope }

// Params returns a copy of the canonical parameters: every list sorted and unique.
func (r Request) Params() map[string][]string {
	out := maps.Clone(r.params)
	for k, v := range out {
		out[k] = slices.Clone(v)
	}
	return out
}

// TTL returns the life asked for, whole seconds within the scope's maximum.
func (r Request) TTL() time.Duration { return r.ttl }

// Tier returns how much harm the permissions can do; TierUnspecified where the request is not valid.
func (r Request) Tier() Tier { return r.tier }

// TierReasons returns, sorted, why the tier is not lower: one line per action or path that raised it.
func (r Request) TierReasons() []string { return slices.Clone(r.reasons) }

// Permissions returns a deep copy of the compiled permissions, not yet bound to a deadline.
func (r Request) Permissions() Permissions { return r.permissions.clone() }

// Actions returns the target actions, sorted: "s3:GetObject", or "vault:read".
func (r Request) Actions() []string { return slices.Clone(r.actions) }

// Resources returns the target ARNs or Vault paths, sorted.
func (r Request) Resources() []string { return slices.Clone(r.resources) }

// SensitiveReads returns, sorted, what in the request reads secrets, whatever its tier.
func (r Request) SensitiveReads() []string { return slices.Clone(r.sensitive) }

// Permissions is what a credential may do. Exactly one of AWS, Vault and VaultRead is set; the zero value is no
// permission set and does not marshal.
type Permissions struct {
	AWS       *iam.Policy
	Vault     []vaultacl.Rule
	VaultRead string // a dynamic-secret path that the broker reads for the agent
	VaultWrap bool   // whether the answer to VaultRead is response-wrapped; false where VaultRead is empty
}

func (p Permissions) clone() Permissions {
	if p.AWS != nil {
		c := p.AWS.Clone()
		p.AWS = &c
	}
	if p.Vault != nil {
		p.Vault = vaultacl.Canonical(p.Vault)
	}
	return p
}

// Canonical returns the permissions as RFC 8785 JSON, for the envelope and its digest.
func (p Permissions) Canonical() ([]byte, error) {
	set := 0
	for _, is := range []bool{p.AWS != nil, len(p.Vault) > 0, p.VaultRead != ""} {
		if is {
			set++
		}
	}
	switch {
	case set == 0:
		return nil, ErrEmpty
	case set > 1:
		return nil, fmt.Errorf("marshalling permissions: more than one kind is set")
	case p.VaultWrap && p.VaultRead == "":
		return nil, fmt.Errorf("marshalling permissions: wrapping without a path to read")
	}
	if p.AWS != nil {
		// A policy that allows nothing is well-formed, and no permission.
		if err := p.AWS.ValidateSession(); err != nil {
			return nil, fmt.Errorf("marshalling permissions: %w", err)
		}
	}
	if len(p.Vault) > 0 {
		if err := vaultacl.Validate(p.Vault); err != nil {
			return nil, fmt.Errorf("marshalling permissions: %w", err)
		}
		p.Vault = vaultacl.Canonical(p.Vault)
	}
	out, err := jcs.Marshal(struct {
		AWS       *iam.Policy     `json:"aws,omitempty"`
		Vault     []vaultacl.Rule `json:"vault,omitempty"`
		VaultRead string          `json:"vault_read,omitempty"`
		VaultWrap bool            `json:"vault_wrap,omitempty"`
	}{p.AWS, p.Vault, p.VaultRead, p.VaultWrap})
	if err != nil {
		return nil, fmt.Errorf("marshalling permissions: %w", err)
	}
	return out, nil
}

// Digest returns SHA-256, in hex, over Canonical.
func (p Permissions) Digest() (string, error) {
	b, err := p.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
