// Package reasons says for each error of the broker why a call was refused, and what the
// caller is told. The record, the log, the metrics and the answer all have it from here.
//
// Laws:
//   - Each sentinel that reaches a caller has one row. valetkeyv1 has what its reason
//     means: the code, whether it is final, the fixed text.
//   - What has no row is a fault of the broker's own: INTERNAL.
//   - A caller is told a fixed text. The error's own goes to the log, and to the caller
//     only where it speaks of nothing but the caller's request.
package reasons

import (
	"cmp"
	"errors"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
)

// row is one sentinel's.
type row struct {
	err    error
	reason valetkeyv1.ErrorReason
	flags  flag
	// text is told in place of the reason's own; empty for that.
	text string
}

type flag int

const (
	// detail adds the error's own text, for sentinels whose text speaks of nothing but
	// the caller's request.
	detail flag = 1 << iota
	// ours is a fault of the broker's.
	ours
	// recorded is a refusal that the path has put on the record itself.
	recorded
)

// table is the only way from an error to a reason. The first row that matches counts, so
// children stand before their parents.
var table = []row{
	{grant.ErrInvalid, valetkeyv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, detail, ""},
	{grant.ErrNotAllowed, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, ""},
	{identity.ErrTrustDomain, valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN, 0, ""},
	{identity.ErrExpired, valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED, 0, ""},
	{identity.ErrAudience, valetkeyv1.ErrorReason_ERROR_REASON_WRONG_AUDIENCE, 0, ""},
	{identity.ErrByToken, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, "operators, approvers and delegates come with an X509-SVID, to the listener for mTLS; a token is an agent's alone"},
	{identity.ErrNotDelegate, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, "this identity may speak for nobody but itself; ask the broker's operator to list it under delegates"},
	{identity.ErrNoAgentNamed, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, "a delegate must name the one agent that it speaks for, in " + valetkeyv1.OnBehalfOfAgent},
	{identity.ErrNotDelegated, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, "this delegate may not speak for this agent; ask the broker's operator to list the agent's path under the delegate"},
	{identity.ErrNotAllowed, valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED, 0, "this SPIFFE ID fits none of the broker's path templates"},
	{grant.ErrNoCaller, valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, ours, "this call has no caller whom the broker knows; nothing was done"},
	{identity.ErrUnauthenticated, valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, 0, ""},
	{scopes.ErrUnknownScope, valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_SCOPE, 0, ""},
	{scopes.ErrStaleVersion, valetkeyv1.ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION, 0, ""},
	{scopes.ErrParameter, valetkeyv1.ErrorReason_ERROR_REASON_INVALID_PARAMETER, detail, ""},
	{scopes.ErrTTL, valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG, detail, ""},
	{scopes.ErrTooLarge, valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, detail, ""},
	{grant.ErrRecordTooLarge, valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, 0, "the request does not fit one record; ask for less in one grant"},
	{scopes.ErrUnproven, valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN, detail | ours, ""},
	{scopes.ErrCatalog, valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG, detail, ""},
	{policy.ErrLoad, valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG, detail, "the policies do not load; the old ones go on serving"},
	{policy.ErrPolicy, valetkeyv1.ErrorReason_ERROR_REASON_POLICY_ERROR, ours, ""},
	{quorum.ErrNeeded, valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL, detail | recorded, ""},
	{grant.ErrRejected, valetkeyv1.ErrorReason_ERROR_REASON_REJECTED, recorded, ""},
	{quorum.ErrDenied, valetkeyv1.ErrorReason_ERROR_REASON_DENIED, recorded, ""},
	{quorum.ErrEvidence, valetkeyv1.ErrorReason_ERROR_REASON_INVALID_APPROVAL, detail, ""},
	{quorum.ErrNotEligible, valetkeyv1.ErrorReason_ERROR_REASON_NOT_ELIGIBLE, detail, ""},
	{grant.ErrSettled, valetkeyv1.ErrorReason_ERROR_REASON_NOT_PENDING, 0, ""},
	{grant.ErrTooManyPending, valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, recorded, "as many requests of this agent's wait for people as may; wait for them, or release one"},
	{grant.ErrTooManyWatches, valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, 0, "this agent watches as many grants at once as it may; close a stream, or ask the broker's operator for more"},
	{grant.ErrTooMuchOpen, valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, 0, "this caller has as many connections, or calls without a message, open as it may; close some, and use one connection for many calls"},
	{guard.ErrRateLimited, valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED, 0, ""},
	{grant.ErrFrozenApprover, valetkeyv1.ErrorReason_ERROR_REASON_FROZEN, 0, "an operator has stopped this person's decisions"},
	{guard.ErrFrozen, valetkeyv1.ErrorReason_ERROR_REASON_FROZEN, recorded, ""},
	{grant.ErrTaskNotFound, valetkeyv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND, 0, ""},
	{grant.ErrTaskClosed, valetkeyv1.ErrorReason_ERROR_REASON_TASK_CLOSED, 0, ""},
	{grant.ErrGrantNotFound, valetkeyv1.ErrorReason_ERROR_REASON_GRANT_NOT_FOUND, 0, ""},
	{grant.ErrLapsed, valetkeyv1.ErrorReason_ERROR_REASON_LAPSED, recorded, ""},
	{grant.ErrGrantEnded, valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED, 0, ""},
	{grant.ErrConflict, valetkeyv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT, 0, ""},
	{grant.ErrAlreadyIssued, valetkeyv1.ErrorReason_ERROR_REASON_ALREADY_ISSUED, 0, ""},
	{mint.ErrTooLarge, valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE, recorded, ""},
	{mint.ErrLifetime, valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG, recorded, "the provider's role cannot give this life; ask for a shorter one"},
	{mint.ErrOutlives, valetkeyv1.ErrorReason_ERROR_REASON_OUTLIVES_GRANT, ours | recorded, ""},
	{mint.ErrClock, valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID, ours | recorded, "the broker's clock and the provider's are minutes apart, so that a deadline would not mean what was approved; nothing was delivered, and the broker's operator must set the clock"},
	{mint.ErrInvalid, valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID, ours | recorded, ""},
	{mint.ErrRefused, valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_REFUSED, ours | recorded, ""},
	{mint.ErrUnavailable, valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_UNAVAILABLE, ours | recorded, ""},
	{mint.ErrPermit, valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL, ours | recorded, ""},
	{ledger.ErrNoRecord, valetkeyv1.ErrorReason_ERROR_REASON_RECORD_NOT_FOUND, 0, ""},
	{store.ErrDamaged, valetkeyv1.ErrorReason_ERROR_REASON_STORE_DAMAGED, ours | recorded, ""},
	{store.ErrUnavailable, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE, ours | recorded, ""},
}

// Answer is how an error is answered.
type Answer struct {
	Reason valetkeyv1.ErrorReason
	// Text is what the caller is told: what happened, and what to do next.
	Text string
	// Ours marks a fault of the broker's, which is logged as an error; a caller's is a
	// warning.
	Ours bool
	// Recorded marks a refusal that the path has put on the record itself.
	Recorded bool
}

// Of is the answer for err, which is not nil.
func Of(err error) Answer {
	r := rowOf(err)
	a := Answer{Reason: r.reason, Text: cmp.Or(r.text, r.reason.Text()), Ours: r.flags&ours != 0, Recorded: r.flags&recorded != 0}
	if r.flags&detail != 0 {
		a.Text += ": " + err.Error()
	}
	return a
}

// Name is the reason's name for err: NEEDS_APPROVAL.
func Name(err error) string { return rowOf(err).reason.Name() }

func rowOf(err error) row {
	for _, r := range table {
		if errors.Is(err, r.err) {
			return r
		}
	}
	return row{reason: valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL, flags: ours}
}
