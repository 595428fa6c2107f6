package evidence

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/valetkey/valetkey/scopes/jcs"
)

// EnvelopeVersion is that of the envelopes that are made and taken.
const EnvelopeVersion = 1

// Envelope is all that is asked for in one decision, and nothing else. Approvals are of the digest of its RFC 8785 form.
// The verifier of ledgers has its own on purpose: it shares no code with the broker.
type Envelope struct {
	// V is EnvelopeVersion.
	V int `json:"v"`
	// Agent and Delegate are SPIFFE IDs; there is a Delegate only where one asked in the Agent's name.
	Agent       string `json:"agent"`
	Delegate    string `json:"delegate,omitempty"`
	Task        string `json:"task"`
	Environment string `json:"environment"`
	OnBehalfOf  string `json:"on_behalf_of"`
	// Scope is name@version.
	Scope       string              `json:"scope"`
	Role        string              `json:"role"`
	Tier        string              `json:"tier"`
	Parameters  map[string][]string `json:"parameters"`
	Permissions jsontext.Value      `json:"permissions"`
	SourceCIDRs []string            `json:"source_cidrs"`
	// Regions are left out where there are none: the digest is what it was before there were these.
	Regions    []string `json:"regions,omitempty"`
	TTLSeconds int64    `json:"ttl_seconds"`
}

// Canonical is the one form of e whose digest is approved.
func (e Envelope) Canonical() ([]byte, error) { return jcs.Marshal(e) }

// ParseEnvelope reads an envelope. Anything but a canonical form is an error, and so is a field that is not known here: it
// would be signed unseen.
func ParseEnvelope(text string) (e Envelope, err error) {
	canonical := jsontext.Value(text)
	if err := canonical.Canonicalize(); err != nil || string(canonical) != text {
		return e, errors.Join(errors.New("the envelope is not RFC 8785 JSON"), err)
	}
	// Unlike encoding/json, this takes names as they are written.
	if err := json.Unmarshal(canonical, &e, json.RejectUnknownMembers(true)); err != nil {
		return e, fmt.Errorf("reading the envelope (is there a newer valetkey?): %w", err)
	}
	if e.V != EnvelopeVersion {
		return e, fmt.Errorf("the envelope is of version %d, and this valetkey knows %d: get a newer one", e.V, EnvelopeVersion)
	}
	return e, nil
}
