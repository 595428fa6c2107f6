package vaultacl

import (
	"fmt"
	"time"
)

// Policy is one ACL policy.
type Policy struct {
	// Name is what decisions call the policy by. It is not part of the text: Vault names a policy by where it is
	// written, and ignores a "name" within. Empty is fine.
	Name string
	// Paths are the rules in the order of the text. A path may be there twice; Vault merges such rules as it merges
	// those of two policies.
	Paths []PathRule
}

// PathRule is one path stanza.
type PathRule struct {
	// Path is without the leading slash. A "*" at its end is any suffix, a "+" is one whole segment, and
	// "{{identity…}}" is what Vault fills in for the caller's entity.
	Path    string
	Comment string
	// Capabilities are sorted and unique; "deny" stands alone. None at all is a rule that matches and allows nothing.
	Capabilities []string
	// Allowed and Denied are what allowed_parameters and denied_parameters say, by lower-case name. A value is a
	// string, which may begin or end with a "*", a bool, or a Number. A name without values means every value; the
	// name "*" means every name. Nil and empty both mean that nothing is said.
	Allowed, Denied map[string][]any
	// Required are the parameters that a request must have.
	Required []string
	// MinWrap and MaxWrap are the limits of the life of the wrapping token that a request must ask for. Zero: none.
	MinWrap, MaxWrap time.Duration
	// MFAMethods name what Vault Enterprise asks for on top. The community edition ignores them.
	MFAMethods []string
	// SubscribeEventTypes are the events that "subscribe" is for.
	SubscribeEventTypes []string
	// Pos is where the stanza stands in the text it was read from; zero for one that was made otherwise.
	Pos Pos

	source string // what Fill made Path of; empty if it did not
	absent bool   // Fill had no value for it: Vault leaves the rule out
}

// Number is a number among the values of a parameter, as it was written. Vault compares it as a Go int or float64 with
// the json.Number of a request, so it equals nothing that comes over the API; it only makes the list not empty.
type Number string

// Pos is a place in a text, both from 1.
type Pos struct{ Line, Column int }

// SyntaxError says where a text is no policy, and why. It wraps ErrPolicy.
type SyntaxError struct {
	Line, Column int
	Msg          string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%v: %d:%d: %s", ErrPolicy, e.Line, e.Column, e.Msg)
}

// Unwrap returns ErrPolicy.
func (e *SyntaxError) Unwrap() error { return ErrPolicy }

// caps is a set of capabilities.
type caps uint16

const (
	capDeny caps = 1 << iota
	capCreate
	capRead
	capUpdate
	capDelete
	capList
	capSudo
	capPatch
	capSubscribe
	capRecover
)

// capNames returns the words for the capabilities, in their sorted order.
func capNames() []string {
	return []string{"create", "delete", "deny", "list", "patch", "read", "recover", "subscribe", "sudo", "update"}
}

// capOf returns a word's capability; zero if there is none of that name.
func capOf(word string) caps {
	switch word {
	case "deny":
		return capDeny
	case "create":
		return capCreate
	case "read":
		return capRead
	case "update":
		return capUpdate
	case "delete":
		return capDelete
	case "list":
		return capList
	case "sudo":
		return capSudo
	case "patch":
		return capPatch
	case "subscribe":
		return capSubscribe
	case "recover":
		return capRecover
	}
	return 0
}

// names lists the set, sorted.
func (c caps) names() []string {
	var out []string
	for _, w := range capNames() {
		if c&capOf(w) != 0 {
			out = append(out, w)
		}
	}
	return out
}

// capSet makes the set of words; a set with deny has nothing else. An unknown word counts for nothing.
func capSet(words []string) caps {
	var c caps
	for _, w := range words {
		c |= capOf(w)
	}
	if c&capDeny != 0 {
		return capDeny
	}
	return c
}

// FromRules returns the broker's rules as a policy.
func FromRules(name string, rules []Rule) Policy {
	p := Policy{Name: name}
	for _, r := range Canonical(rules) {
		p.Paths = append(p.Paths, PathRule{Path: r.Path, Capabilities: r.Capabilities})
	}
	return p
}
