// Package approval is step 5 of 9: it clears an admission once every approval
// that policy demands is there, bound to one envelope.
//
// Laws:
//   - An approval is of one digest. Minting recomputes the digest, so nothing
//     about a request can change after people have said yes.
//   - A denial is not something approvals can turn.
//
// This version collects no approvals: what needs people is answered with what
// it would need, and nothing is cleared.
package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/scopes/jcs"
)

var (
	// ErrNeeded means that people have to say yes first; see NeededError.
	ErrNeeded = errors.New("needs approval")
	// ErrDenied means that policy said no.
	ErrDenied = errors.New("denied")
	// ErrNoClearance is returned for a zero Clearance.
	ErrNoClearance = errors.New("no clearance")
)

// NeededError is an ErrNeeded that says exactly what is needed.
type NeededError struct{ Needs []policy.Need }

func (e *NeededError) Error() string {
	parts := make([]string, len(e.Needs))
	for i, n := range e.Needs {
		parts[i] = fmt.Sprintf("%d of group %s", n.Approvals, n.Group)
	}
	sort.Strings(parts)
	return "needs approval: " + strings.Join(parts, ", ")
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

// Clear returns the clearance of a, or an ErrNeeded or ErrDenied.
func Clear(a guard.Admission) (Clearance, error) {
	if !a.Valid() {
		return Clearance{}, guard.ErrNoAdmission
	}
	switch d := a.Decision(); d.Outcome() {
	case policy.Allow:
		digest, err := Digest(d)
		if err != nil {
			return Clearance{}, err
		}
		return Clearance{admission: a, digest: digest}, nil
	case policy.NeedsApproval:
		return Clearance{}, &NeededError{Needs: d.Needs()}
	default:
		return Clearance{}, ErrDenied
	}
}

// Digest is SHA-256, in hex, over the RFC 8785 form of the envelope of d: the
// whole request, and nothing that is not asked for.
func Digest(d policy.Decision) (string, error) {
	req := d.Request()
	perms, err := req.Permissions().Canonical()
	if err != nil {
		return "", fmt.Errorf("sealing the envelope: %w", err)
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
	if regions := req.Scope().Regions(); len(regions) > 0 { // without any, the digest is what it was before there were Regions
		envelope["regions"] = regions
	}
	canon, err := jcs.Marshal(envelope)
	if err != nil {
		return "", fmt.Errorf("sealing the envelope: %w", err)
	}
	sum := sha256.Sum256(canon)
	return hex.EncodeToString(sum[:]), nil
}
