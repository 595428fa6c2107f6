package valetkeyv1

import (
	"fmt"
	"strings"
)

// NeedDetail begins the names of those details of an ErrorInfo that are a Need each: the group's name follows, and the
// value is how many of it.
const NeedDetail = "needs."

// NeedsText says who has to approve: "2 of group sre, 1 of group dba". The names are as they came.
func NeedsText(needs []*Need) string {
	out := make([]string, len(needs))
	for i, n := range needs {
		out[i] = fmt.Sprintf("%d of group %s", n.GetApprovals(), n.GetGroup())
	}
	return strings.Join(out, ", ")
}

const (
	tierPrefix  = "TIER_"
	statePrefix = "GRANT_STATE_"
)

// Word is the tier as records and people have it: "destructive"; "unspecified" for none.
func (x Tier) Word() string { return strings.ToLower(strings.TrimPrefix(x.String(), tierPrefix)) }

// TierOf is the tier of a word; UNSPECIFIED for what is no tier's.
func TierOf(word string) Tier { return Tier(Tier_value[tierPrefix+strings.ToUpper(word)]) }

// Word is the state as records and people have it: "pending"; "unspecified" for none.
func (x GrantState) Word() string {
	return strings.ToLower(strings.TrimPrefix(x.String(), statePrefix))
}

// GrantStateOf is the state of a word; UNSPECIFIED for what is no state's.
func GrantStateOf(word string) GrantState {
	return GrantState(GrantState_value[statePrefix+strings.ToUpper(word)])
}
