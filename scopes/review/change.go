package review

import (
	"github.com/valetkey/valetkey/scopes"
)

// Kind says what a change is about.
type Kind string

// The kinds.
const (
	KindPermission Kind = "permission" // the same request gives another set of permissions
	KindParameter  Kind = "parameter"  // other requests are taken
	KindLife       Kind = "ttl"        // credentials live longer or shorter
	KindBinding    Kind = "binding"    // credentials work elsewhere
	KindRole       Kind = "role"       // credentials come from elsewhere
)

// Change is one thing that one side gives and the other does not.
type Change struct {
	Kind Kind        `json:"kind"`
	Tier scopes.Tier `json:"tier"`
	What string      `json:"what"` // in the words of the side that has it
	// Known tells whether it is proven; then Witness is an example that makes it: a request to the provider, or a value
	// that only one side takes. Otherwise Why says what could not be told, and there may be no change at all.
	Known   bool   `json:"known"`
	Witness string `json:"witness,omitempty"`
	Given   string `json:"given,omitempty"` // the parameters that the witness supposes: "bucket=example-bucket"
	Why     string `json:"why,omitempty"`
}

// Status says what became of a scope.
type Status string

// The statuses.
const (
	Added   Status = "added"
	Removed Status = "removed"
	Changed Status = "changed"
)

// ScopeDelta is what changed about one scope.
type ScopeDelta struct {
	Scope       string      `json:"scope"`
	Status      Status      `json:"status"`
	Before      scopes.Tier `json:"tier_before,omitempty"` // TierUnspecified where the side does not have the scope
	After       scopes.Tier `json:"tier_after,omitempty"`
	Description string      `json:"description"` // of the new side, or of the old one where the scope is removed
	Gained      []Change    `json:"gained"`      // the widest tier first; empty, not nil, as Lost
	Lost        []Change    `json:"lost"`
	Notes       []string    `json:"notes,omitempty"` // what changed and gives nobody more: descriptions, names of parameters, default lives
}

// Delta is what changed between two catalogs.
type Delta struct {
	Before string       `json:"before"` // the catalogs' versions
	After  string       `json:"after"`
	Same   int          `json:"unchanged"` // how many scopes did not change
	Scopes []ScopeDelta `json:"scopes"`    // those that did, sorted by name
}

// Gains counts what was gained.
func (d Delta) Gains() int {
	n := 0
	for _, s := range d.Scopes {
		n += len(s.Gained)
	}
	return n
}

// Tier is the widest tier of what was gained; doubts count. TierUnspecified where nothing was.
func (d Delta) Tier() scopes.Tier {
	var t scopes.Tier
	for _, s := range d.Scopes {
		for _, g := range s.Gained {
			t = max(t, g.Tier)
		}
	}
	return t
}

// ofClass takes what is of no class for the worst.
func ofClass(c scopes.Tier) scopes.Tier {
	if c == scopes.TierUnspecified {
		return scopes.TierAdmin
	}
	return c
}
