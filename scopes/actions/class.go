package actions

import "github.com/valetkey/valetkey/scopes/tier"

// Class is the tier of an action.
type Class = tier.Tier

// The classes. ClassUnspecified is never returned for a name.
const (
	ClassUnspecified = tier.None
	ClassRead        = tier.Read
	ClassWrite       = tier.Write
	ClassDestructive = tier.Destructive
	ClassAdmin       = tier.Admin
)
