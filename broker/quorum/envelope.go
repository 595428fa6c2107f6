package quorum

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/policy"
)

// Envelope is a decision's, sealed. Only Seal makes one.
type Envelope struct {
	decision policy.Decision
	text     string
	digest   string
}

// Text is its RFC 8785 form.
func (e Envelope) Text() string { return e.text }

// Digest is SHA-256, in hex, over Text: what approvals sign.
func (e Envelope) Digest() string { return e.digest }

// Seal makes the envelope of d. It fails for the zero Decision.
func Seal(d policy.Decision) (Envelope, error) {
	if !d.Valid() {
		return Envelope{}, fmt.Errorf("sealing the envelope: %w: no decision", ErrNoClearance)
	}
	req := d.Request()
	envelope := evidence.Envelope{
		V: evidence.EnvelopeVersion, Agent: d.Agent().ID().String(), Task: d.Task().ID, Environment: d.Task().Environment, OnBehalfOf: d.Task().OnBehalfOf,
		Scope: req.Scope().Name() + "@" + req.Scope().Version(), Role: req.Scope().Role(), Tier: req.Tier().String(), Parameters: req.Params(),
		Permissions: jsontext.Value(req.CanonicalPermissions()), SourceCIDRs: req.Scope().SourceCIDRs(), Regions: req.Scope().Regions(),
		TTLSeconds: int64(d.TTL().Seconds()),
	}
	if delegate := d.Agent().Delegate(); !delegate.IsZero() {
		envelope.Delegate = delegate.String()
	}
	canon, err := envelope.Canonical()
	if err != nil {
		return Envelope{}, fmt.Errorf("sealing the envelope: %w", err)
	}
	return Envelope{decision: d, text: string(canon), digest: evidence.Digest(canon)}, nil
}
