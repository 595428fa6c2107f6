package mint

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "[REDACTED]"

// Handle names a credential upstream without being one: it is stored, logged and
// recorded, and is what Revoke needs. Fields that do not apply are empty.
type Handle struct {
	// Provider is ProviderAWS or ProviderVault.
	Provider string `json:"provider"`
	// Role is the configured role's name.
	Role string `json:"role"`
	// AccessKeyID is the STS session's; CloudTrail joins on it.
	AccessKeyID string `json:"access_key_id,omitempty"`
	// SessionName is the order's.
	SessionName string `json:"session_name,omitempty"`
	// RoleID is the assumed role's unique id (AROA...). With the session's name it is the
	// aws:userid that a deny entry names; empty when no answer has told it.
	RoleID string `json:"role_id,omitempty"`
	// LeaseTag is what an S3-compatible server revokes by.
	LeaseTag string `json:"lease_tag,omitempty"`
	// VaultAccessor identifies the token; revoking it also ends leases the token holds.
	VaultAccessor string `json:"vault_accessor,omitempty"`
	// VaultWrapping is the accessor of the wrapping token that the dynamic secret is in.
	VaultWrapping string `json:"vault_wrapping_accessor,omitempty"`
	// VaultRead is the path that a dynamic secret is read from; empty for a token.
	VaultRead string `json:"vault_read,omitempty"`
	// VaultKills says that revoking was seen to end secrets of that path.
	VaultKills bool `json:"vault_kills,omitempty"`
	// VaultTaken says that the secret was, or may have been, made. It is of the minting alone.
	VaultTaken bool `json:"-"`
	// VaultLeaseID is the dynamic secret's lease.
	VaultLeaseID string `json:"vault_lease_id,omitempty"`
	// VaultPolicy is this issuance's ACL policy; without it the token can do nothing.
	VaultPolicy string `json:"vault_policy,omitempty"`
	// IssuedAt is when minting it was ordered; zero where the order did not say.
	IssuedAt time.Time `json:"issued_at,omitzero"`
	// NotAfter is when the upstream ends it by itself, as far as is known; see Ends.
	NotAfter time.Time `json:"not_after"`
}

// Ends is when the credential stops working by itself; zero where that is not known. A dynamic
// secret whose minting was never answered has a life that only its engine knows.
func (h Handle) Ends() time.Time {
	if h.VaultRead != "" && h.VaultLeaseID == "" && !h.VaultKills {
		return time.Time{}
	}
	return h.NotAfter
}

// Secret is what Reveal gives: exactly one field is set.
type Secret struct {
	AWS   *AWSSecret
	Vault *VaultSecret
}

// AWSSecret is an STS session.
type AWSSecret struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	// Region and Endpoint say where to use it; Endpoint is empty for AWS itself.
	Region, Endpoint string
}

// VaultSecret is a token, or a dynamic secret's data, or a wrapping token for that data.
type VaultSecret struct {
	// Token is set when the scope asks for paths. Accessor names it, or the token that holds
	// the dynamic secret's lease.
	Token, Accessor string
	// Address and Namespace say where Vault is.
	Address, Namespace string
	// DataJSON and LeaseID are set when the scope reads a dynamic secret unwrapped.
	DataJSON []byte
	LeaseID  string
	// WrappingToken is set when the scope wraps; the broker never saw what is inside.
	WrappingToken string
}

// Credential holds a minted secret on its way to its agent. However it is
// printed, logged or marshalled it shows nothing; Reveal is the only way out.
// The zero Credential is not Valid.
type Credential struct {
	handle  Handle
	expires time.Time
	// secret is a closure, which nothing prints: where a Credential is an unexported
	// field fmt cannot call its methods, and with %s follows its pointers instead.
	secret func() Secret
}

// NewCredential is for Minters, after they have checked the upstream's answer.
func NewCredential(h Handle, expires time.Time, s Secret) Credential {
	return Credential{handle: h, expires: expires, secret: func() Secret { return s }}
}

// Valid reports whether there is a secret inside.
func (c Credential) Valid() bool {
	if c.secret == nil {
		return false
	}
	s := c.secret()
	return s.AWS != nil || s.Vault != nil
}

// Handle names the credential upstream.
func (c Credential) Handle() Handle { return c.handle }

// ExpiresAt is when it stops working, by whichever limit comes first.
func (c Credential) ExpiresAt() time.Time { return c.expires }

// Reveal returns the secret. Call it only where it is written to its agent.
func (c Credential) Reveal() Secret {
	if c.secret == nil {
		return Secret{}
	}
	return c.secret()
}

// String, GoString, Format, MarshalJSON, MarshalText and LogValue hide the secret.
func (Credential) String() string { return redacted }

// GoString hides the secret from %#v.
func (Credential) GoString() string { return redacted }

// Format hides the secret from every verb.
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON hides the secret.
func (Credential) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText hides the secret from text encoders and map keys.
func (Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the secret from slog.
func (Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue hides it from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (AWSSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (AWSSecret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue hides it from slog.
func (AWSSecret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (VaultSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (VaultSecret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue hides it from slog.
func (VaultSecret) LogValue() slog.Value { return slog.StringValue(redacted) }
