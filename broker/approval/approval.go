// Package approval is step 5 of 9: it clears an admission once every approval
// that policy demands is there, bound to one envelope.
//
// Laws:
//   - An approval is of one digest. Minting recomputes the digest, so nothing
//     about a request can change after people have said yes.
//   - A person counts once, by name, however many keys they have. Whoever asks, or
//     stands in the chain that leads to who asks, does not count at all.
//   - What counts is verified when it comes, and again at every minting: against
//     the people and keys that are listed then.
//   - A denial is not something approvals can turn, and one no ends a request.
package approval

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strings"

	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes/jcs"
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

// Clear returns the clearance of a, or an ErrNeeded or ErrDenied. A decision that
// rests on approvals is cleared with the tally that they were counted in; the
// zero Tally is of none.
func Clear(a guard.Admission, t Tally) (Clearance, error) {
	if !a.Valid() {
		return Clearance{}, guard.ErrNoAdmission
	}
	switch d := a.Decision(); d.Outcome() {
	case policy.Allow:
		digest, err := Digest(d)
		if err != nil {
			return Clearance{}, err
		}
		if counts := d.Approvals(); !maps.Equal(counts, t.counts) {
			return Clearance{}, fmt.Errorf("%w: the approvals were not counted here", ErrNoClearance)
		} else if len(counts) > 0 && t.digest != digest {
			return Clearance{}, fmt.Errorf("%w: people have approved something else, and what policy allows has changed since", ErrDenied)
		}
		return Clearance{admission: a, digest: digest}, nil
	case policy.NeedsApproval:
		return Clearance{}, &NeededError{Needs: d.Needs()}
	default:
		return Clearance{}, ErrDenied
	}
}

// Digest is SHA-256, in hex, over the envelope of d.
func Digest(d policy.Decision) (string, error) {
	envelope, err := Envelope(d)
	if err != nil {
		return "", err
	}
	return evidence.Digest(envelope), nil
}

// Envelope is the RFC 8785 form of all that is asked for in d, and nothing else.
func Envelope(d policy.Decision) ([]byte, error) {
	req := d.Request()
	perms, err := req.Permissions().Canonical()
	if err != nil {
		return nil, fmt.Errorf("sealing the envelope: %w", err)
	}
	envelope := map[string]any{
		"v":            1,
		"agent":        d.Agent().ID().String(),
		"task":         d.Task().ID,
		"environment":  d.Task().Environment,
		"on_behalf_of": d.Task().OnBehalfOf,
		"scope":        req.Scope().Name() + "@" + req.Scope().Version(),
		"role":         req.Scope().Role(),
		"tier":         req.Tier().String(),
		"parameters":   req.Params(),
		"permissions":  json.RawMessage(perms),
		"source_cidrs": req.Scope().SourceCIDRs(),
		"ttl_seconds":  int64(d.TTL().Seconds()),
	}
	// Without any, the digest is what it was before there were these.
	if regions := req.Scope().Regions(); len(regions) > 0 {
		envelope["regions"] = regions
	}
	if delegate := d.Agent().Delegate(); !delegate.IsZero() {
		envelope["delegate"] = delegate.String()
	}
	canon, err := jcs.Marshal(envelope)
	if err != nil {
		return nil, fmt.Errorf("sealing the envelope: %w", err)
	}
	return canon, nil
}
