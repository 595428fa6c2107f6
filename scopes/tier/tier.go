// Package tier is the one ladder of how much harm can be done. An action of AWS's catalogue, a rule of a Vault policy and a
// whole request stand on it; what a rung is follows from the permissions, and is never declared.
package tier

import "fmt"

// Tier is how much harm can be done.
type Tier int

// The tiers, each wider than the one before it. None is the zero value: nothing can be done, or nobody has looked.
const (
	None Tier = iota
	Read
	Write
	Destructive
	Admin
)

var words = [...]string{"none", "read", "write", "destructive", "admin"}

// String returns the tier's word: "read", "write", "destructive" or "admin"; "none" for anything else.
func (t Tier) String() string {
	if t < None || t > Admin {
		t = None
	}
	return words[t]
}

// MarshalText is String.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what String returns, and nothing else.
func (t *Tier) UnmarshalText(b []byte) error {
	if *t = Parse(string(b)); t.String() != string(b) {
		return fmt.Errorf("unknown tier %q", b)
	}
	return nil
}

// OrAdmin is the tier, or Admin for what is no tier or none: what nobody knows counts as the worst.
func (t Tier) OrAdmin() Tier {
	if t <= None || t > Admin {
		return Admin
	}
	return t
}

// Parse is the tier of a word; None for "none", and for what is no tier's.
func Parse(word string) Tier {
	for t := Admin; t > None; t-- {
		if words[t] == word {
			return t
		}
	}
	return None
}
