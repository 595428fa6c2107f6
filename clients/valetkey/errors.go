package valetkey

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// reason is one of the broker's reasons as an error to compare with.
type reason valetkeyv1.ErrorReason

func (r reason) Error() string { return valetkeyv1.ErrorReason(r).Name() }

// The broker's refusals, one for each reason of the wire contract. errors.Is
// finds them in what this package returns; errors.As finds the Error with the
// broker's text and facts.
var (
	// ErrInvalidRequest is a request that breaks a rule of the schema.
	ErrInvalidRequest error = reason(valetkeyv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	// ErrUnauthenticated is a call without a usable identity.
	ErrUnauthenticated error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED)
	// ErrUnknownTrustDomain is a trust domain that is not on the broker's list.
	ErrUnknownTrustDomain error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN)
	// ErrSVIDExpired is an SVID outside its validity.
	ErrSVIDExpired error = reason(valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED)
	// ErrWrongAudience is a JWT-SVID for somebody else.
	ErrWrongAudience error = reason(valetkeyv1.ErrorReason_ERROR_REASON_WRONG_AUDIENCE)
	// ErrCallerNotAllowed is an identity that may not make this call.
	ErrCallerNotAllowed error = reason(valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED)
	// ErrUnknownScope is a scope that the catalog does not have.
	ErrUnknownScope error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_SCOPE)
	// ErrStaleScopeVersion is a scope that has changed since the caller looked.
	ErrStaleScopeVersion error = reason(valetkeyv1.ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION)
	// ErrInvalidParameter is a parameter that is missing, unknown or too wide.
	ErrInvalidParameter error = reason(valetkeyv1.ErrorReason_ERROR_REASON_INVALID_PARAMETER)
	// ErrTTLTooLong is a life over the scope's maximum.
	ErrTTLTooLong error = reason(valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG)
	// ErrPolicyTooLarge is a policy that does not fit the provider's limit.
	ErrPolicyTooLarge error = reason(valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE)
	// ErrUnproven is a request that could not be shown to lie within its scope.
	ErrUnproven error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN)
	// ErrDenied is a request that no policy permits, or that one forbids.
	ErrDenied error = reason(valetkeyv1.ErrorReason_ERROR_REASON_DENIED)
	// ErrNeedsApproval is a request that people have to approve; Error.Needs says whom.
	ErrNeedsApproval error = reason(valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL)
	// ErrRejected is a request that people said no to. It is an ErrDenied.
	ErrRejected error = reason(valetkeyv1.ErrorReason_ERROR_REASON_REJECTED)
	// ErrLapsed is a request that people did not approve in time. It is an ErrGrantEnded.
	ErrLapsed error = reason(valetkeyv1.ErrorReason_ERROR_REASON_LAPSED)
	// ErrInvalidApproval is an approval that is no signed decision on the request by its sender.
	ErrInvalidApproval error = reason(valetkeyv1.ErrorReason_ERROR_REASON_INVALID_APPROVAL)
	// ErrNotEligible is an approver whose decision does not count for the request.
	ErrNotEligible error = reason(valetkeyv1.ErrorReason_ERROR_REASON_NOT_ELIGIBLE)
	// ErrNotPending is a request that waits for nobody any more.
	ErrNotPending error = reason(valetkeyv1.ErrorReason_ERROR_REASON_NOT_PENDING)
	// ErrPolicyFailed is an error inside the policy engine, so the answer is no.
	ErrPolicyFailed error = reason(valetkeyv1.ErrorReason_ERROR_REASON_POLICY_ERROR)
	// ErrRateLimited is an agent that asks too often; Error.RetryAfter says when.
	ErrRateLimited error = reason(valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED)
	// ErrFrozen is an agent whose grants an operator has stopped.
	ErrFrozen error = reason(valetkeyv1.ErrorReason_ERROR_REASON_FROZEN)
	// ErrTaskNotFound is a task that this caller does not have.
	ErrTaskNotFound error = reason(valetkeyv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND)
	// ErrTaskClosed is a task that has ended.
	ErrTaskClosed error = reason(valetkeyv1.ErrorReason_ERROR_REASON_TASK_CLOSED)
	// ErrGrantNotFound is a grant that this caller does not have.
	ErrGrantNotFound error = reason(valetkeyv1.ErrorReason_ERROR_REASON_GRANT_NOT_FOUND)
	// ErrGrantEnded is a grant that cannot be minted from any more.
	ErrGrantEnded error = reason(valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED)
	// ErrIdempotencyConflict is an idempotency key that came with other content.
	ErrIdempotencyConflict error = reason(valetkeyv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT)
	// ErrAlreadyIssued is a credential that was delivered or lost.
	ErrAlreadyIssued error = reason(valetkeyv1.ErrorReason_ERROR_REASON_ALREADY_ISSUED)
	// ErrUpstreamUnavailable is an STS or Vault that cannot be reached.
	ErrUpstreamUnavailable error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_UNAVAILABLE)
	// ErrUpstreamRefused is an STS or Vault that refuses the broker.
	ErrUpstreamRefused error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_REFUSED)
	// ErrUpstreamInvalid is an STS or Vault that answered something else than was asked.
	ErrUpstreamInvalid error = reason(valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID)
	// ErrOutlivesGrant is a secret that would go on working after its grant.
	ErrOutlivesGrant error = reason(valetkeyv1.ErrorReason_ERROR_REASON_OUTLIVES_GRANT)
	// ErrLedgerUnavailable is a record that cannot be written.
	ErrLedgerUnavailable error = reason(valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
	// ErrStoreDamaged is a broker's store that is damaged: it mints nothing until its operator has acted.
	ErrStoreDamaged error = reason(valetkeyv1.ErrorReason_ERROR_REASON_STORE_DAMAGED)
	// ErrInvalidCatalog is a catalog on disk that does not load.
	ErrInvalidCatalog error = reason(valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG)
	// ErrRecordNotFound is a record that the ledger does not have.
	ErrRecordNotFound error = reason(valetkeyv1.ErrorReason_ERROR_REASON_RECORD_NOT_FOUND)
	// ErrInternal is a fault of the broker itself.
	ErrInternal error = reason(valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL)
)

// Need is how many people of a group a request lacks.
type Need struct {
	Group     string `json:"group" jsonschema:"the group of people"`
	Approvals int    `json:"approvals" jsonschema:"how many distinct people of it"`
}

// String is "2 of group sre".
func (n Need) String() string { return fmt.Sprintf("%d of group %s", n.Approvals, n.Group) }

func needsOf(wire []*valetkeyv1.Need) (out []Need) {
	for _, n := range wire {
		out = append(out, Need{Group: n.GetGroup(), Approvals: int(n.GetApprovals())})
	}
	return out
}

// Error is a broker's answer of no. It is final: this package never asks again
// on its own after one.
type Error struct {
	// Reason is ERROR_REASON_UNSPECIFIED for one of a newer broker, which this version does not know: it is final.
	Reason valetkeyv1.ErrorReason
	// Message is the broker's text for the caller: what happened, and what to do next.
	Message string
	// GrantID is the grant that the refusal left on the record; empty for none.
	GrantID string
	// Needs are set with NEEDS_APPROVAL, by group. With any other reason they are nil, whatever came: nobody's approval
	// would change that answer.
	Needs []Need
	// RetryAfter is set with RATE_LIMITED, where the broker says how long. With any other reason it is 0, whatever came:
	// a time to ask again makes no final answer less final.
	RetryAfter time.Duration
	// Details are the broker's facts as they came; may be empty.
	Details map[string]string

	code    codes.Code
	unknown string // the name of a reason that is not known; empty for one that is
}

// ReasonName is the reason's name, such as NEEDS_APPROVAL, also of one that this version does not know.
func (e *Error) ReasonName() string { return cmp.Or(e.unknown, e.Reason.Name()) }

// Error is the reason, the broker's text, and what to quote.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.ReasonName(), e.Message)
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (in %s)", e.RetryAfter.Round(time.Millisecond))
	}
	if e.GrantID != "" {
		fmt.Fprintf(&b, " (%s)", e.GrantID)
	}
	return b.String()
}

// Is matches the sentinel of the error's reason, and of what that is a kind of.
func (e *Error) Is(target error) bool {
	r, ok := target.(reason)
	return ok && (valetkeyv1.ErrorReason(r) == e.Reason || valetkeyv1.ErrorReason(r) == kindOf(e.Reason))
}

// kindOf is the wider reason that a reason is a kind of; UNSPECIFIED for none.
func kindOf(r valetkeyv1.ErrorReason) valetkeyv1.ErrorReason {
	switch r {
	case valetkeyv1.ErrorReason_ERROR_REASON_REJECTED:
		return valetkeyv1.ErrorReason_ERROR_REASON_DENIED
	case valetkeyv1.ErrorReason_ERROR_REASON_LAPSED:
		return valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED
	default:
		return valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
}

// GRPCStatus lets status.FromError and status.Code see through.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.code, e.Message) }

// RefusalOf returns the broker's refusal in err, whether it comes from this
// package or straight from a generated client. It is false for errors that are
// no answer of a broker, such as a lost connection.
func RefusalOf(err error) (Error, bool) {
	var e *Error
	if errors.As(err, &e) {
		return *e, true
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return Error{}, false
	}
	out, found := Error{Message: s.GRPCStatus().Message(), code: s.GRPCStatus().Code()}, false
	for _, d := range s.GRPCStatus().Details() {
		switch info := d.(type) {
		case *errdetails.ErrorInfo:
			if info.GetDomain() != valetkeyv1.ErrorDomain {
				continue
			}
			found = true
			r := valetkeyv1.ReasonOf(info.GetReason())
			out.unknown = ""
			if r == valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
				out.unknown = unknownName(info.GetReason())
			}
			out.Reason, out.Details, out.GrantID = r, info.GetMetadata(), info.GetMetadata()["grant_id"]
		case *valetkeyv1.ApprovalNeeded:
			out.Needs = needsOf(info.GetNeeds())
		case *errdetails.RetryInfo:
			out.RetryAfter = info.GetRetryDelay().AsDuration()
		}
	}
	if out.Reason != valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL {
		out.Needs = nil
	}
	switch {
	case out.Reason.Kind() != valetkeyv1.ReasonLimited || out.RetryAfter <= 0:
		out.RetryAfter = 0
	default:
		out.RetryAfter = max(out.RetryAfter, firstPause) // a nanosecond would be a loop
	}
	return out, found
}

// unknownName is a reason as it came, where it has the form of one.
func unknownName(name string) string {
	const longest = 63 // of google.rpc.ErrorInfo
	if name == "" || len(name) > longest || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return "UNKNOWN"
	}
	return name
}

// Passing says whether err is a refusal that is no decision: the broker could not, this
// time. The same may do later; any other refusal is final, waits for people, or says when.
func Passing(err error) bool {
	r, ok := RefusalOf(err)
	return ok && r.Reason.Kind() == valetkeyv1.ReasonPassing
}

// refusal is one that this package finds in a grant's state, with the broker's text where it has none of its own.
func refusal(r valetkeyv1.ErrorReason, grantID, text string) *Error {
	return &Error{Reason: r, Message: cmp.Or(text, r.Text()), GrantID: grantID, code: r.Code()}
}
