package valetkey

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "[REDACTED]"

// Credential is what a grant is for. However it is printed, logged or marshalled
// it shows nothing; Reveal is the only way out. The zero Credential is not Valid.
type Credential struct {
	// A closure, because fmt follows pointers to unexported fields that it cannot
	// ask Format, as where a Credential is one of somebody's struct.
	secret   func() Secret
	grantID  string
	receipt  Receipt
	expires  time.Time // by this machine's clock
	ends     time.Time // by the broker's clock
	received time.Time // when it was received, by this machine's clock
}

// Secret is what Reveal gives: exactly one field is set.
type Secret struct {
	AWS   *AWSSecret
	Vault *VaultSecret
}

// AWSSecret is a narrowed STS session.
type AWSSecret struct {
	// AccessKeyID identifies the session, and is no secret.
	AccessKeyID                   string
	SecretAccessKey, SessionToken string
	// Region is empty where the broker has none configured. Endpoint is the
	// S3-compatible server's URL, and empty for AWS itself.
	Region, Endpoint string
}

// VaultSecret is a narrowed Vault token, or what a dynamic secret engine gave, or
// a wrapping token for that.
type VaultSecret struct {
	// Token is set when the scope asks for paths. Accessor identifies it, or the
	// token that holds the dynamic secret's lease, and is no secret.
	Token, Accessor string
	// Address and Namespace say where Vault is; an empty namespace is the root.
	Address, Namespace string
	// DataJSON and LeaseID are set when the scope reads a dynamic secret.
	DataJSON []byte
	LeaseID  string
	// WrappingToken is set when the scope wraps.
	WrappingToken string
}

// Valid reports whether there is a secret inside.
func (c Credential) Valid() bool { return c.Reveal() != Secret{} }

// ID identifies the credential upstream and in the ledger, and is no secret: the
// access key id, the lease id or the token's accessor.
func (c Credential) ID() string {
	switch s := c.Reveal(); {
	case s.AWS != nil:
		return s.AWS.AccessKeyID
	case s.Vault != nil && s.Vault.LeaseID != "":
		return s.Vault.LeaseID
	case s.Vault != nil:
		return s.Vault.Accessor
	}
	return ""
}

// GrantID is the grant that it was minted from.
func (c Credential) GrantID() string { return c.grantID }

// ExpiresAt is when it stops working, by whichever limit comes first. Where this
// machine's clock is seconds or more apart from the broker's, it is the time that
// this machine's clock will show then, so that it can be compared with time.Now.
func (c Credential) ExpiresAt() time.Time { return c.expires }

// Receipt proves that the minting is on the record.
func (c Credential) Receipt() Receipt { return c.receipt }

// Reveal returns the secret. Call it only where it is handed to what uses it, and
// do not change what it points to: others are given the same.
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
func (Credential) Format(f fmt.State, _ rune) { hide(f) }

// MarshalJSON hides the secret.
func (Credential) MarshalJSON() ([]byte, error) { return hiddenJSON() }

// MarshalText hides the secret from text encoders and map keys.
func (Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the secret from slog.
func (Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (Secret) Format(f fmt.State, _ rune) { hide(f) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (Secret) MarshalJSON() ([]byte, error) { return hiddenJSON() }

// LogValue hides it from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (AWSSecret) Format(f fmt.State, _ rune) { hide(f) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (AWSSecret) MarshalJSON() ([]byte, error) { return hiddenJSON() }

// LogValue hides it from slog.
func (AWSSecret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides a revealed secret that is printed by mistake.
func (VaultSecret) Format(f fmt.State, _ rune) { hide(f) }

// MarshalJSON hides it from JSON; its fields are written out one by one.
func (VaultSecret) MarshalJSON() ([]byte, error) { return hiddenJSON() }

// LogValue hides it from slog.
func (VaultSecret) LogValue() slog.Value { return slog.StringValue(redacted) }

func hide(w io.Writer) { _, _ = io.WriteString(w, redacted) }

func hiddenJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
