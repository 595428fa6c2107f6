package scopes

import "github.com/valetkey/valetkey/scopes/actions"

// Tier is how much harm a permission set can do. It is derived from the compiled permissions, never declared.
type Tier int

// The tiers, each wider than the one before it. TierUnspecified is the zero value and is refused by every later step.
const (
	TierUnspecified Tier = iota
	TierRead
	TierWrite
	TierDestructive
	TierAdmin
)

// String returns the tier's word: "read", "write", "destructive", "admin", or "unspecified".
func (t Tier) String() string {
	switch t {
	case TierRead:
		return "read"
	case TierWrite:
		return "write"
	case TierDestructive:
		return "destructive"
	case TierAdmin:
		return "admin"
	case TierUnspecified:
	}
	return "unspecified"
}

// fromClass maps the action catalogue's class; what it does not know is admin.
func fromClass(c actions.Class) Tier {
	switch c {
	case actions.ClassRead:
		return TierRead
	case actions.ClassWrite:
		return TierWrite
	case actions.ClassDestructive:
		return TierDestructive
	case actions.ClassAdmin, actions.ClassUnspecified:
	}
	return TierAdmin
}

// Provider is the system that enforces a scope.
type Provider string

// The providers.
const (
	ProviderAWS   Provider = "aws"
	ProviderVault Provider = "vault"
)
