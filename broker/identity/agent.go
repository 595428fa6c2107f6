package identity

import (
	"maps"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Methods of authentication, as [Agent.Method] names them.
const (
	MethodX509 = "x509"
	MethodJWT  = "jwt"
)

// Agent is a caller whose SVID was verified during this call, or the agent that
// such a caller may speak for: see [Delegate]. The zero Agent is
// not valid and every later step refuses it. An Agent is immutable and safe for
// concurrent use.
type Agent struct {
	id         spiffeid.ID
	attributes map[string]string
	expiresAt  time.Time
	method     string
	role       Role
	delegate   spiffeid.ID
}

// Valid is false for an Agent that Authenticate did not make.
func (a Agent) Valid() bool { return a.role != 0 && !a.id.IsZero() }

// Role is what the caller is to the broker: RoleAgent but for an operator's and an
// approver's own calls.
func (a Agent) Role() Role { return a.role }

// ID is the verified SPIFFE ID.
func (a Agent) ID() spiffeid.ID { return a.id }

// Attributes are the segments of the ID's path by the names that the matching
// template gives them. Empty for operators and approvers. The caller
// owns the map.
func (a Agent) Attributes() map[string]string {
	attributes := make(map[string]string, len(a.attributes))
	maps.Copy(attributes, a.attributes)
	return attributes
}

// Delegate is who speaks for the agent, and whose SVID was verified; zero where
// the agent came with its own.
func (a Agent) Delegate() spiffeid.ID { return a.delegate }

// ExpiresAt is when the SVID ends; a stream must not outlive it.
func (a Agent) ExpiresAt() time.Time { return a.expiresAt }

// Method is MethodX509 or MethodJWT.
func (a Agent) Method() string { return a.method }
