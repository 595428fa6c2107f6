package scopes

import "github.com/valetkey/valetkey/scopes/tier"

// Tier is how much harm a permission set can do. It is derived from the compiled permissions, never declared.
type Tier = tier.Tier

// The tiers, each wider than the one before it. TierUnspecified is the zero value and is refused by every later step.
const (
	TierUnspecified = tier.None
	TierRead        = tier.Read
	TierWrite       = tier.Write
	TierDestructive = tier.Destructive
	TierAdmin       = tier.Admin
)

// Provider is the system that enforces a scope.
type Provider string

// The providers.
const (
	ProviderAWS   Provider = "aws"
	ProviderVault Provider = "vault"
)
