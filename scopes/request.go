package scopes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	Dialect iam.Dialect   // of what enforces an AWS scope; empty means its role's, which a catalog has once it is Under its roles
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
	canonical   string // permissions.Canonical
	digest      string // permissions.Digest
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
func (r Request) Permissions() Permissions { return r.permissions.Clone() }

// CanonicalPermissions is Permissions().Canonical, worked out once; empty where the request is not valid.
func (r Request) CanonicalPermissions() string { return r.canonical }

// PermissionsDigest is Permissions().Digest, worked out once; empty where the request is not valid.
func (r Request) PermissionsDigest() string { return r.digest }

// print fills in the permissions' text and its digest, once the permissions are what they will be.
func (r *Request) print() error {
	text, err := r.permissions.Canonical()
	if err != nil {
		return err
	}
	r.canonical, r.digest = string(text), digestOf(text)
	return nil
}

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
	Dialect   iam.Dialect // whose reading of AWS they were compiled and proven in; empty where that is not set
	Vault     []vaultacl.Rule
	VaultRead string // a dynamic-secret path that the broker reads for the agent
	VaultWrap bool   // whether the answer to VaultRead is response-wrapped; false where VaultRead is empty
}

// Clone returns a copy that shares nothing with p.
func (p Permissions) Clone() Permissions {
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
	for _, is := range [...]bool{p.AWS != nil, len(p.Vault) > 0, p.VaultRead != ""} {
		if is {
			set++
		}
	}
	switch {
	case set == 0:
		return nil, ErrEmpty
	case set > 1:
		return nil, fmt.Errorf("marshalling permissions: more than one kind is set")
	case p.AWS == nil && p.Dialect != "":
		return nil, fmt.Errorf("marshalling permissions: dialect %q without a policy of IAM's", p.Dialect)
	case p.VaultWrap && p.VaultRead == "":
		return nil, fmt.Errorf("marshalling permissions: wrapping without a path to read")
	}
	if p.AWS != nil {
		return p.canonicalAWS()
	}
	if len(p.Vault) > 0 {
		out, err := vaultacl.AppendJCS([]byte(`{"vault":`), p.Vault)
		if err != nil {
			return nil, fmt.Errorf("marshalling permissions: %w", err)
		}
		return append(out, '}'), nil
	}
	out, err := jcs.Marshal(struct {
		VaultRead string `json:"vault_read"`
		VaultWrap bool   `json:"vault_wrap,omitempty"`
	}{p.VaultRead, p.VaultWrap})
	if err != nil {
		return nil, fmt.Errorf("marshalling permissions: %w", err)
	}
	return out, nil
}

// canonicalAWS is Canonical for a policy of IAM's. One that allows nothing is well-formed, and no permission.
func (p Permissions) canonicalAWS() ([]byte, error) {
	out, err := p.AWS.AppendSessionJCS(append(make([]byte, 0, 512), `{"aws":`...))
	if err == nil {
		_, err = iam.ParseDialect(string(p.Dialect))
	}
	if err != nil {
		return nil, fmt.Errorf("marshalling permissions: %w", err)
	}
	return append(append(append(out, `,"dialect":"`...), p.Dialect...), `"}`...), nil // a dialect's name is a plain word
}

// ParsePermissions reads what Canonical prints.
func ParsePermissions(text []byte) (Permissions, error) {
	var p struct {
		AWS       *iam.Policy     `json:"aws"`
		Dialect   iam.Dialect     `json:"dialect"`
		Vault     []vaultacl.Rule `json:"vault"`
		VaultRead string          `json:"vault_read"`
		VaultWrap bool            `json:"vault_wrap"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields() // a kind of permission that is not known must not be overlooked
	if err := dec.Decode(&p); err != nil {
		return Permissions{}, fmt.Errorf("reading the permissions: %w", err)
	}
	out := Permissions{AWS: p.AWS, Dialect: p.Dialect, Vault: p.Vault, VaultRead: p.VaultRead, VaultWrap: p.VaultWrap}
	if _, err := out.Canonical(); err != nil {
		return Permissions{}, fmt.Errorf("reading the permissions: %w", err)
	}
	return out, nil
}

// Digest returns SHA-256, in hex, over Canonical.
func (p Permissions) Digest() (string, error) {
	b, err := p.Canonical()
	if err != nil {
		return "", err
	}
	return digestOf(b), nil
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	var out [2 * sha256.Size]byte
	hex.Encode(out[:], sum[:])
	return string(out[:])
}
