// Package quorum is step 5 of 9: it clears an admission once every approval
// that policy demands is there, bound to one envelope.
//
// Laws:
//   - An approval is of one digest. Minting recomputes the digest, so nothing
//     about a request can change after people have said yes.
//   - A person counts once, by name, however many keys they have, and for the groups
//     that they have signed for. Whoever asks, or stands in the chain that leads to who
//     asks, does not count at all.
//   - Whom the agent says it acts for has to say yes too, and counts for no group: to
//     name somebody only ever asks more people, so an agent cannot choose who is left.
//   - What counts is verified when it comes, and again at every minting: against
//     the people and keys that are listed then.
//   - A denial is not something approvals can turn, and one no ends a request.
package quorum

import (
	"errors"
	"fmt"
	"maps"
	"sort"
	"strings"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/policy"
)

var (
	// ErrNeeded means that people have to say yes first; see NeededError.
	ErrNeeded = errors.New("needs approval")
	// ErrDenied means that policy said no.
	ErrDenied = errors.New("denied")
	// ErrNoClearance is returned for a zero Clearance, and where a decision rests on
	// approvals that were not counted here.
	ErrNoClearance = errors.New("no clearance")
)

// NeededError is an ErrNeeded that says exactly what is needed.
type NeededError struct {
	Needs []policy.Need
	// Why says why nobody is asked; empty where people can be, or are.
	Why string
}

func (e *NeededError) Error() string {
	parts := make([]string, len(e.Needs))
	for i, n := range e.Needs {
		parts[i] = fmt.Sprintf("%d of group %s", n.Approvals, n.Group)
	}
	sort.Strings(parts)
	text := "needs approval: " + strings.Join(parts, ", ")
	if e.Why != "" {
		text += "; " + e.Why
	}
	return text
}

// Unwrap makes it an ErrNeeded.
func (e *NeededError) Unwrap() error { return ErrNeeded }

// Clearance is evidence that nothing stands between an admission and its
// minting.
type Clearance struct {
	admission guard.Admission
	digest    string
}

// Valid is false for the zero value.
func (c Clearance) Valid() bool { return c.admission.Valid() && c.digest != "" }

// Decision is what was cleared.
func (c Clearance) Decision() policy.Decision { return c.admission.Decision() }

// Digest is the envelope's.
func (c Clearance) Digest() string { return c.digest }

// Clear returns the clearance of a, or an ErrNeeded or ErrDenied. e is the envelope of a's own
// decision. A decision that rests on approvals is cleared with the tally that they were counted
// in; the zero Tally is of none.
func Clear(a guard.Admission, e Envelope, t Tally) (Clearance, error) {
	switch {
	case !a.Valid():
		return Clearance{}, guard.ErrNoAdmission
	case !e.decision.Same(a.Decision()):
		return Clearance{}, fmt.Errorf("%w: the envelope is of another decision", ErrNoClearance)
	}
	switch d := a.Decision(); d.Outcome() {
	case policy.Allow:
		if counts := d.Approvals(); !maps.Equal(counts, t.counts) {
			return Clearance{}, fmt.Errorf("%w: the approvals were not counted here", ErrNoClearance)
		} else if len(counts) > 0 && t.digest != e.digest {
			return Clearance{}, fmt.Errorf("%w: people have approved something else, and what policy allows has changed since", ErrDenied)
		}
		return Clearance{admission: a, digest: e.digest}, nil
	case policy.NeedsApproval:
		return Clearance{}, &NeededError{Needs: d.Needs()}
	default:
		return Clearance{}, ErrDenied
	}
}
