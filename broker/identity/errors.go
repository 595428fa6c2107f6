package identity

import (
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ErrUnauthenticated is the parent of every refusal of this package, and by
// itself means: no SVID, an unreadable one, or one that no bundle verifies.
var ErrUnauthenticated = errors.New("caller is not authenticated")

var (
	// ErrTrustDomain means the SVID's trust domain is not on the list, or no
	// bundle is known for it.
	ErrTrustDomain = fmt.Errorf("%w: unknown trust domain", ErrUnauthenticated)

	// ErrExpired means now is outside the SVID's validity.
	ErrExpired = fmt.Errorf("%w: SVID outside its validity", ErrUnauthenticated)

	// ErrAudience means a JWT-SVID was made for somebody else.
	ErrAudience = fmt.Errorf("%w: wrong JWT audience", ErrUnauthenticated)

	// ErrNotAllowed means the SVID is good, but its ID fits no template.
	ErrNotAllowed = fmt.Errorf("%w: SPIFFE ID is not allowed here", ErrUnauthenticated)

	// ErrByToken means that somebody came with a JWT-SVID who is more than an agent:
	// whoever sees a token can send it again.
	ErrByToken = fmt.Errorf("%w: operators, approvers and delegates come with an X509-SVID", ErrNotAllowed)

	// ErrNotDelegate means that a caller which is no delegate named an agent to
	// speak for.
	ErrNotDelegate = fmt.Errorf("%w: caller may speak for nobody", ErrNotAllowed)

	// ErrNoAgentNamed means that a delegate did not name exactly one agent.
	ErrNoAgentNamed = fmt.Errorf("%w: a delegate must name the agent it speaks for", ErrNotAllowed)

	// ErrNotDelegated means that a delegate named an agent outside its list.
	ErrNotDelegated = fmt.Errorf("%w: the delegate may not speak for this agent", ErrNotAllowed)
)

// ErrNoJWT means the source cannot give JWT-SVIDs: it reads files.
var ErrNoJWT = errors.New("source holds no JWT-SVID")

// Refusal is the error of [Authenticator.Authenticate] where the caller named
// itself. It wraps one of the sentinels.
type Refusal struct { //nolint:errname // the word of the wire contract: a refusal is an answer
	// Claimed is the ID that the caller's SVID carries: evidence for the record.
	// A JWT-SVID's is given only where its signature is good. An X509-SVID's is only
	// as good as the handshake before, unless the cause is ErrNotAllowed.
	Claimed spiffeid.ID

	// Delegate is who named Claimed as the agent that it speaks for; zero otherwise.
	// Its SVID is good.
	Delegate spiffeid.ID

	// Cause is never nil.
	Cause error
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("authenticating %q: %v", r.Claimed, r.Cause)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (r *Refusal) Unwrap() error { return r.Cause }
