// Package verdict has the words of an answer, which are the same for each language of policies: what policies say of one
// request, and whether some policies have all that others have.
package verdict

import (
	"errors"
	"fmt"
	"slices"
)

// ErrRequest is the parent of every refusal of a request to decide about.
var ErrRequest = errors.New("invalid request to evaluate")

// Verdict is what policies say of a request. The zero value is ImplicitDeny.
type Verdict int

// The verdicts.
const (
	ImplicitDeny Verdict = iota // nothing allows it, and nothing denies it
	Allowed
	ExplicitDeny // something denies it
)

var verdicts = []string{"implicit_deny", "allow", "explicit_deny"}

// String returns "implicit_deny", "allow" or "explicit_deny".
func (v Verdict) String() string { return word(int(v), verdicts) }

// MarshalText is String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what String returns, and nothing else.
func (v *Verdict) UnmarshalText(b []byte) error { return read((*int)(v), verdicts, b, "verdict") }

// Answer is yes, no, or that neither could be shown. The zero value is Unknown, which whoever needs a yes takes for a no.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	Yes
	No
)

var answers = []string{"unknown", "yes", "no"}

// String returns "unknown", "yes" or "no".
func (a Answer) String() string { return word(int(a), answers) }

// MarshalText is String.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what String returns, and nothing else.
func (a *Answer) UnmarshalText(b []byte) error { return read((*int)(a), answers, b, "answer") }

// word takes what is no value for the zero one.
func word(n int, words []string) string {
	if n < 0 || n >= len(words) {
		n = 0
	}
	return words[n]
}

func read(to *int, words []string, b []byte, what string) error {
	n := slices.Index(words, string(b))
	if n < 0 {
		return fmt.Errorf("unknown %s %q", what, b)
	}
	*to = n
	return nil
}
