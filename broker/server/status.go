package server

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker"
	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
)

// domain is ErrorInfo's.
const domain = "valetkey.dev"

var (
	errInvalid    = errors.New("invalid request")
	errNotAllowed = errors.New("caller not allowed")
)

// row says how one sentinel reaches the caller.
type row struct {
	err    error
	code   codes.Code
	reason valetkeyv1.ErrorReason
	// text is what the caller is told: what happened, and what to do next.
	text string
	// detail adds the error's own text, for sentinels whose text speaks of
	// nothing but the caller's request.
	detail bool
	// ours marks our faults, logged as errors; the caller's are warnings.
	ours bool
	// recorded marks refusals that the path has put on the record itself.
	recorded bool
}

const (
	r0 = "ERROR_REASON_"
)

// table is the only way from an error to a code and a reason. The first row
// that matches counts, so children stand before their parents.
func table() []row {
	return []row{
		{err: errInvalid, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, text: "the request breaks a rule of the schema", detail: true},
		{err: errNotAllowed, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, text: "this identity may not make this call; ask the broker's operator to list it"},
		{err: identity.ErrTrustDomain, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN, text: "the trust domain is not on the broker's list"},
		{err: identity.ErrExpired, code: codes.Unauthenticated, reason: valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED, text: "the SVID is outside its validity; fetch a fresh one, and check the clocks"},
		{err: identity.ErrAudience, code: codes.Unauthenticated, reason: valetkeyv1.ErrorReason_ERROR_REASON_WRONG_AUDIENCE, text: "the JWT-SVID is for another audience; fetch one for the broker's"},
		{err: identity.ErrNotDelegate, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, text: "this identity may speak for nobody but itself; ask the broker's operator to list it under delegates"},
		{err: identity.ErrNoAgentNamed, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, text: "a delegate must name the one agent that it speaks for, in " + valetkeyv1.OnBehalfOfAgent},
		{err: identity.ErrNotDelegated, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, text: "this delegate may not speak for this agent; ask the broker's operator to list the agent's path under the delegate"},
		{err: identity.ErrNotAllowed, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, text: "this SPIFFE ID fits none of the broker's path templates"},
		{err: identity.ErrUnauthenticated, code: codes.Unauthenticated, reason: valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, text: "no usable SVID came with the call"},
		{err: scopes.ErrUnknownScope, code: codes.NotFound, reason: valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_SCOPE, text: "the catalog has no such scope; list them with \"valetkey scopes\""},
		{err: scopes.ErrStaleVersion, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION, text: "the scope has changed; look at it again and ask for its new version"},
		{err: scopes.ErrParameter, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_INVALID_PARAMETER, text: "a parameter is not valid", detail: true},
		{err: scopes.ErrTTL, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG, text: "the ttl is outside the scope's limits", detail: true},
		{err: scopes.ErrTooLarge, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, text: "the compiled policy does not fit the provider's limit; ask for less in one grant", detail: true},
		{err: ledger.ErrRecordTooLarge, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, text: "the request does not fit one record; ask for less in one grant"},
		{err: scopes.ErrUnproven, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN, text: "the compiled permissions could not be proven to lie within the scope's ceiling, so nothing is issued; ask for less, or have the catalog's owner look at the scope", detail: true, ours: true},
		{err: scopes.ErrCatalog, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG, text: "the catalog does not load; the old one goes on serving", detail: true},
		{err: policy.ErrLoad, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG, text: "the policies do not load; the old ones go on serving", detail: true},
		{err: policy.ErrPolicy, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_POLICY_ERROR, text: "the policy engine met an error, so the answer is no; the broker's log has the cause", ours: true},
		{err: approval.ErrNeeded, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL, text: "people have to approve this first", detail: true, recorded: true},
		{err: broker.ErrRejected, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_REJECTED, text: "people said no to this; do not ask again for the same", recorded: true},
		{err: approval.ErrDenied, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_DENIED, text: "policy does not allow this; \"valetkey explain\" says why", recorded: true},
		{err: approval.ErrEvidence, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_INVALID_APPROVAL, text: "this is not a signed decision on this request by you", detail: true},
		{err: approval.ErrNotEligible, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_NOT_ELIGIBLE, text: "your decision does not count for this request", detail: true},
		{err: broker.ErrSettled, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_NOT_PENDING, text: "this request waits for nobody any more; \"valetkey approvals\" lists those that do"},
		{err: broker.ErrTooManyPending, code: codes.ResourceExhausted, reason: valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, text: "as many requests of this agent's wait for people as may; wait for them, or release one", recorded: true},
		{err: broker.ErrTooManyWatches, code: codes.ResourceExhausted, reason: valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, text: "this agent watches as many grants at once as it may; close a stream, or ask the broker's operator for more"},
		{err: guard.ErrRateLimited, code: codes.ResourceExhausted, reason: valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, text: "too many requests; wait as long as RetryInfo says"},
		{err: broker.ErrFrozenApprover, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_FROZEN, text: "an operator has stopped this person's decisions"},
		{err: guard.ErrFrozen, code: codes.PermissionDenied, reason: valetkeyv1.ErrorReason_ERROR_REASON_FROZEN, text: "an operator has stopped grants for this agent", recorded: true},
		{err: broker.ErrTaskNotFound, code: codes.NotFound, reason: valetkeyv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND, text: "this caller has no such task; open one with \"valetkey task open\""},
		{err: broker.ErrTaskClosed, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_TASK_CLOSED, text: "the task is closed; open another"},
		{err: broker.ErrGrantNotFound, code: codes.NotFound, reason: valetkeyv1.ErrorReason_ERROR_REASON_GRANT_NOT_FOUND, text: "this caller has no such grant"},
		{err: broker.ErrLapsed, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_LAPSED, text: "people did not approve this in time; ask for another grant", recorded: true},
		{err: broker.ErrGrantEnded, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED, text: "the grant has ended; ask for another"},
		{err: broker.ErrConflict, code: codes.AlreadyExists, reason: valetkeyv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT, text: "this idempotency key came before with other content; use a new key"},
		{err: broker.ErrAlreadyIssued, code: codes.AlreadyExists, reason: valetkeyv1.ErrorReason_ERROR_REASON_ALREADY_ISSUED, text: "this was issued before and secrets are not kept; mint from the grant again with a new key"},
		{err: mint.ErrTooLarge, code: codes.InvalidArgument, reason: valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, text: "the permissions do not fit the provider's limit; ask for less in one grant", recorded: true},
		{err: mint.ErrLifetime, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG, text: "the provider's role cannot give this life; ask for a shorter one", recorded: true},
		{err: mint.ErrClock, code: codes.Unavailable, reason: valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID, text: "the broker's clock and the provider's are minutes apart, so that a deadline would not mean what was approved; nothing was delivered, and the broker's operator must set the clock", ours: true, recorded: true},
		{err: mint.ErrInvalid, code: codes.Unavailable, reason: valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID, text: "the provider answered something else than was asked; nothing was delivered", ours: true, recorded: true},
		{err: mint.ErrRefused, code: codes.FailedPrecondition, reason: valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_REFUSED, text: "the provider refuses the broker; its operator must look at the role", ours: true, recorded: true},
		{err: mint.ErrUnavailable, code: codes.Unavailable, reason: valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_UNAVAILABLE, text: "the provider cannot be reached; nothing was delivered, try again with a new key", ours: true, recorded: true},
		{err: mint.ErrPermit, code: codes.Internal, reason: valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL, text: "a fault of the broker; its log has the cause", ours: true, recorded: true},
		{err: ledger.ErrNoRecord, code: codes.NotFound, reason: valetkeyv1.ErrorReason_ERROR_REASON_RECORD_NOT_FOUND, text: "there is no such record"},
		{err: store.ErrUnavailable, code: codes.Unavailable, reason: valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE, text: "the record cannot be written, so nothing is issued; try again later", ours: true, recorded: true},
	}
}

func rowOf(err error) row {
	for _, r := range table() {
		if errors.Is(err, r.err) {
			return r
		}
	}
	return row{err: err, code: codes.Internal, reason: valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL, text: "a fault of the broker; its log has the cause", ours: true}
}

// Reason is the caller's reason for err, without the enum's prefix.
func Reason(err error) string { return strings.TrimPrefix(rowOf(err).reason.String(), r0) }

// statusOf is the answer for err. grantID names a refused grant, if there is one.
func statusOf(err error, grantID string) error {
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	case errors.Is(err, context.DeadlineExceeded) && rowOf(err).reason == valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL:
		return status.Error(codes.DeadlineExceeded, "the call took too long")
	}
	r := rowOf(err)
	text := r.text
	if r.detail {
		text += ": " + err.Error()
	}
	if len(text) > 2048 {
		text = strings.ToValidUTF8(text[:2048], "") + "..." // a caller's own long input comes back short
	}
	info := &errdetails.ErrorInfo{Domain: domain, Reason: strings.TrimPrefix(r.reason.String(), r0), Metadata: map[string]string{}}
	if grantID != "" {
		info.Metadata["grant_id"] = grantID
	}
	var needed *approval.NeededError
	if errors.As(err, &needed) {
		for _, n := range needed.Needs {
			info.Metadata["needs."+n.Group] = strconv.Itoa(n.Approvals)
		}
	}
	st := status.New(r.code, text)
	with, derr := st.WithDetails(info)
	var limited *guard.RateError
	if errors.As(err, &limited) {
		with, derr = st.WithDetails(info, &errdetails.RetryInfo{RetryDelay: durationpb.New(limited.Wait)})
	}
	if derr != nil {
		return st.Err()
	}
	return with.Err()
}
