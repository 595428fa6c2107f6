package mint

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/scopes"
)

// The providers a Handle can name.
const (
	ProviderAWS   = "aws"
	ProviderVault = "vault"
)

// MaxPermitLife is how long after IssuedAt a permit can be used at most. It
// covers the write of the intent between signing and minting, and little more.
const MaxPermitLife = 60 * time.Second

// Order is what to mint, complete: a Minter adds nothing to it and looks nothing up. Every field
// is under the permit's seal, as encoding/json prints it: a field that it leaves out would not be.
// Every field is required except SourceCIDRs and Regions.
type Order struct {
	// GrantID, TaskID, AgentID, ScopeName and ScopeVersion say on whose behalf; AgentID is
	// the whole SPIFFE ID.
	GrantID, TaskID, AgentID, ScopeName, ScopeVersion string
	// EnvelopeDigest is what approvals signed, recomputed when the order was made.
	EnvelopeDigest string
	// IssuanceID names this one minting; the permit is spent under it.
	IssuanceID string
	// SessionName is unguessable (SessionNames), since a resource policy that names a
	// session escapes the implicit deny of a session policy.
	SessionName string
	// Role is the configured role's name, not its ARN.
	Role string
	// Permissions is all the credential may do.
	Permissions scopes.Sealed
	// SourceCIDRs limits where it may be used from; empty means anywhere.
	SourceCIDRs []string
	// Regions limits which AWS Regions' endpoints it works with; empty means all. Only AWS's own dialect can keep it.
	Regions []string
	// NotAfter is when it must be dead.
	NotAfter time.Time
	// IssuedAt and PermitExpires bound when the order may be carried out, not what it gives.
	IssuedAt, PermitExpires time.Time
}

// minSTSSession is the shortest session that STS makes
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, DurationSeconds).
const minSTSSession = 15 * time.Minute

// Handle returns the name of what minting this order would leave at the provider, known
// before the call: store it with the intent, and Revoke can end even a credential
// whose minting was never answered.
func (o Order) Handle(provider string) Handle {
	h := Handle{Provider: provider, Role: o.Role, SessionName: o.SessionName, NotAfter: o.NotAfter, IssuedAt: o.IssuedAt}
	switch provider {
	case ProviderAWS:
		h.LeaseTag = o.SessionName
		if least := o.IssuedAt.Add(minSTSSession); o.Permissions.Dialect().Believes() && least.After(h.NotAfter) {
			h.NotAfter = least // the deadline in its policy holds nobody
		}
	case ProviderVault:
		h.VaultPolicy = "vk-" + strings.ToLower(o.GrantID) + "-" + strings.ToLower(o.IssuanceID)
		h.VaultRead = o.Permissions.VaultRead()
	}
	return h
}

var (
	idPattern      = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	sessionPattern = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

func (o Order) validate() error {
	for _, f := range []struct{ name, value string }{
		{"agent id", o.AgentID}, {"scope name", o.ScopeName}, {"scope version", o.ScopeVersion},
		{"envelope digest", o.EnvelopeDigest}, {"role", o.Role},
	} {
		if f.value == "" || !utf8.ValidString(f.value) { // encoding/json would print other text for it, and seal that
			return fmt.Errorf("checking order: empty %s, or one that is not UTF-8: %w", f.name, ErrPermit)
		}
	}
	for _, f := range []struct{ name, value string }{
		{"grant id", o.GrantID}, {"task id", o.TaskID}, {"issuance id", o.IssuanceID},
	} {
		if !idPattern.MatchString(f.value) {
			return fmt.Errorf("checking order: illegal %s %q: %w", f.name, f.value, ErrPermit)
		}
	}
	if !sessionPattern.MatchString(o.SessionName) {
		return fmt.Errorf("checking order: illegal session name: %w", ErrPermit)
	}
	if !o.Permissions.Valid() {
		return fmt.Errorf("checking order: no permissions: %w", ErrPermit)
	}
	life := o.PermitExpires.Sub(o.IssuedAt)
	if o.IssuedAt.IsZero() || life <= 0 || life > MaxPermitLife {
		return fmt.Errorf("checking order: permit life %v not in (0, %v]: %w", life, MaxPermitLife, ErrPermit)
	}
	if !o.NotAfter.After(o.IssuedAt) {
		return fmt.Errorf("checking order: deadline %v not after %v: %w", o.NotAfter, o.IssuedAt, ErrPermit)
	}
	return nil
}
