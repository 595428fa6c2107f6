package valetkeyv1

import (
	"cmp"
	"strings"

	"google.golang.org/grpc/codes"
)

// ErrorDomain is the domain of the google.rpc.ErrorInfo in which a reason comes.
const ErrorDomain = "valetkey.dev"

const reasonPrefix = "ERROR_REASON_"

// ReasonKind says what a caller can make of a refusal. What retries by itself retries
// ReasonPassing, and ReasonLimited at the time that the answer names: nothing else.
type ReasonKind int

// The kinds. One that a caller does not know is final.
const (
	// ReasonUnknown is of a reason that only a newer broker has, and of UNSPECIFIED, which is never sent.
	ReasonUnknown ReasonKind = iota
	// ReasonWrong is a call that is wrong as it stands. Another may do.
	ReasonWrong
	// ReasonDenied is a decision. The same is refused again.
	ReasonDenied
	// ReasonWaiting is a request that people have to approve first.
	ReasonWaiting
	// ReasonLimited is a call too many. The answer says when there is room.
	ReasonLimited
	// ReasonBroken is refused until an operator mends something.
	ReasonBroken
	// ReasonPassing is no decision: the broker could not, this time.
	ReasonPassing
)

// reason is what there is to say of an ErrorReason.
type reason struct {
	code codes.Code
	kind ReasonKind
	// text is what the broker tells the caller: what happened, and often what to do next.
	text string
	// advice is what people do about it, at a command line; for an agent with the MCP server's tools in its stead, toolAdvice
	// is, where that is something else.
	advice, toolAdvice string
}

// reasons is the one table of them, for the broker and for all of its clients. A test wants each reason in it.
var reasons = map[ErrorReason]reason{
	ErrorReason_ERROR_REASON_INVALID_REQUEST: {codes.InvalidArgument, ReasonWrong, "the request breaks a rule of the schema",
		"correct the argument that the message names.", ""},
	ErrorReason_ERROR_REASON_UNAUTHENTICATED: {codes.Unauthenticated, ReasonWrong, "no usable SVID came with the call",
		"check that your Workload API gives you an SVID.",
		"tell the operator: this server has no usable identity."},
	ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN: {codes.PermissionDenied, ReasonDenied, "the trust domain is not on the broker's list",
		"use an identity of a trust domain that this broker lists, or ask its operator to federate yours.",
		"tell the operator: the broker does not list this server's trust domain."},
	ErrorReason_ERROR_REASON_SVID_EXPIRED: {codes.Unauthenticated, ReasonPassing, "the SVID is outside its validity; fetch a fresh one, and check the clocks",
		"fetch a fresh SVID and try again.",
		"try again shortly; if it stays, tell the operator that this server's SVID is not renewed."},
	ErrorReason_ERROR_REASON_WRONG_AUDIENCE: {codes.Unauthenticated, ReasonWrong, "the JWT-SVID is for another audience; fetch one for the broker's",
		"fetch a JWT-SVID for this broker's audience.",
		"tell the operator: this server's token is for another broker."},
	ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED: {codes.PermissionDenied, ReasonDenied, "this identity may not make this call; ask the broker's operator to list it",
		"use the identity that this call is for; operators and people who approve are listed in the broker's config.",
		"tell the operator: this server's identity may not make this call."},
	ErrorReason_ERROR_REASON_UNKNOWN_SCOPE: {codes.NotFound, ReasonWrong, "the catalog has no such scope; list them with \"valetkey scopes\"",
		"see what there is: valetkey scopes",
		"see what there is with list_scopes."},
	ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION: {codes.FailedPrecondition, ReasonWrong, "the scope has changed; look at it again and ask for its new version",
		"look at the scope as it is now, then ask again: valetkey scopes",
		"look at the scope as it is now with list_scopes, then ask again."},
	ErrorReason_ERROR_REASON_INVALID_PARAMETER: {codes.InvalidArgument, ReasonWrong, "a parameter is not valid",
		"see the scope's parameters: valetkey scopes -o json",
		"see the scope's parameters with list_scopes."},
	ErrorReason_ERROR_REASON_TTL_TOO_LONG: {codes.InvalidArgument, ReasonWrong, "the ttl is outside the scope's limits",
		"ask for a shorter --ttl; valetkey scopes shows the most.",
		"ask for a shorter life; list_scopes shows the longest."},
	ErrorReason_ERROR_REASON_POLICY_TOO_LARGE: {codes.InvalidArgument, ReasonWrong, "the compiled policy does not fit the provider's limit; ask for less in one grant",
		"ask for fewer resources at once.", ""},
	ErrorReason_ERROR_REASON_UNPROVEN: {codes.PermissionDenied, ReasonDenied, "the compiled permissions could not be proven to lie within the scope's ceiling, so nothing is issued; ask for less, or have the catalog's owner look at the scope",
		"ask for something narrower, or tell the operator: the scope can make more of its values than its author meant.",
		"ask for it by other parameters, or tell whoever keeps the catalog: what was asked for could not be shown to lie within the scope."},
	ErrorReason_ERROR_REASON_DENIED: {codes.PermissionDenied, ReasonDenied, "policy does not allow this; \"valetkey explain\" says why",
		"see why, and what would be allowed: valetkey explain SCOPE k=v...",
		"see why with explain, and ask for something narrower. The same request will be denied again."},
	ErrorReason_ERROR_REASON_NEEDS_APPROVAL: {codes.FailedPrecondition, ReasonWaiting, "people have to approve this first",
		"ask for something narrower, or have the people named above approve.",
		"tell your user who has to approve, go on with other work, and look again with access_status; or ask for something narrower."},
	ErrorReason_ERROR_REASON_REJECTED: {codes.PermissionDenied, ReasonDenied, "people said no to this; do not ask again for the same",
		"ask whoever said no; do not ask for the same again.",
		"tell your user that people said no, and do not ask for the same again; ask for something narrower."},
	ErrorReason_ERROR_REASON_LAPSED: {codes.FailedPrecondition, ReasonWrong, "people did not approve this in time; ask for another grant",
		"ask again when somebody is there to approve it.",
		"tell your user that nobody decided in time; once somebody is there to approve, ask again: request_access with again and the handle."},
	ErrorReason_ERROR_REASON_INVALID_APPROVAL: {codes.InvalidArgument, ReasonWrong, "this is not a signed decision on this request by you",
		"sign with a key that the broker's config lists for you: valetkey approve GRANT --key FILE",
		"tell the operator: this is an answer for people who approve, and no tool here does."},
	ErrorReason_ERROR_REASON_NOT_ELIGIBLE: {codes.PermissionDenied, ReasonDenied, "your decision does not count for this request",
		"leave this one to others: valetkey approvals lists what is yours to decide.",
		"tell the operator: this is an answer for people who approve, and no tool here does."},
	ErrorReason_ERROR_REASON_NOT_PENDING: {codes.FailedPrecondition, ReasonWrong, "this request waits for nobody any more; \"valetkey approvals\" lists those that do",
		"see what still waits: valetkey approvals",
		"tell the operator: this is an answer for people who approve, and no tool here does."},
	ErrorReason_ERROR_REASON_POLICY_ERROR: {codes.PermissionDenied, ReasonDenied, "the policy engine met an error, so the answer is no; the broker's log has the cause",
		"tell the operator: the broker's log names the policy that fails.", ""},
	ErrorReason_ERROR_REASON_RATE_LIMITED: {codes.ResourceExhausted, ReasonLimited, "too many requests; wait as long as RetryInfo says",
		"wait, as the message says, and mint again from the grant you have rather than asking for new ones.",
		"wait for as long as the answer says; use the access you have rather than asking for new."},
	ErrorReason_ERROR_REASON_FROZEN: {codes.PermissionDenied, ReasonDenied, "an operator has stopped grants for this agent",
		"ask the operator why; only valetkey unfreeze ends it.",
		"stop, and tell your user: an operator has frozen this agent."},
	ErrorReason_ERROR_REASON_TASK_NOT_FOUND: {codes.NotFound, ReasonWrong, "this caller has no such task; open one with \"valetkey task open\"",
		"open a task with this identity: valetkey task open",
		"open a task with open_task."},
	ErrorReason_ERROR_REASON_TASK_CLOSED: {codes.FailedPrecondition, ReasonWrong, "the task is closed; open another",
		"open a new task: valetkey task open",
		"open a new task with open_task."},
	ErrorReason_ERROR_REASON_GRANT_NOT_FOUND: {codes.NotFound, ReasonWrong, "this caller has no such grant",
		"use a grant that this identity asked for.",
		"ask for access again with request_access."},
	ErrorReason_ERROR_REASON_GRANT_ENDED: {codes.FailedPrecondition, ReasonWrong, "the grant has ended; ask for another",
		"ask for a new grant: valetkey request SCOPE k=v... --task ID",
		"ask for access again with request_access."},
	ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT: {codes.AlreadyExists, ReasonWrong, "this idempotency key came before with other content; use a new key",
		"use a new idempotency key for a new call.",
		"try again."},
	ErrorReason_ERROR_REASON_ALREADY_ISSUED: {codes.AlreadyExists, ReasonWrong, "this was issued before and secrets are not kept; mint from the grant again with a new key",
		"mint again: valetkey mint GRANT",
		"ask for access again with request_access."},
	ErrorReason_ERROR_REASON_UPSTREAM_UNAVAILABLE: {codes.Unavailable, ReasonPassing, "the provider cannot be reached; nothing was delivered, try again with a new key",
		"try again shortly; STS or Vault does not answer the broker.", ""},
	ErrorReason_ERROR_REASON_UPSTREAM_REFUSED: {codes.FailedPrecondition, ReasonBroken, "the provider refuses the broker; its operator must look at the role",
		"tell the operator: STS or Vault refuses the broker's own role.", ""},
	ErrorReason_ERROR_REASON_UPSTREAM_INVALID: {codes.Unavailable, ReasonPassing, "the provider answered something else than was asked; nothing was delivered",
		"tell the operator: STS or Vault answered something else than was asked.", ""},
	ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE: {codes.Unavailable, ReasonPassing, "the record cannot be written, so nothing is issued; try again later",
		"tell the operator: the broker issues nothing that it cannot record.", ""},
	ErrorReason_ERROR_REASON_STORE_DAMAGED: {codes.FailedPrecondition, ReasonBroken, "the broker's store is damaged, so nothing is minted; its operator has to look at it, with \"valetkeyd store check\"",
		"tell the operator: the broker mints nothing on a damaged store; its log says what was found.", ""},
	ErrorReason_ERROR_REASON_INVALID_CATALOG: {codes.FailedPrecondition, ReasonBroken, "the catalog does not load; the old one goes on serving",
		"check the files: valetkey catalog check DIR; the old catalog goes on serving.",
		"tell the operator: the catalog does not load."},
	ErrorReason_ERROR_REASON_OUTLIVES_GRANT: {codes.FailedPrecondition, ReasonBroken, "what the provider hands out would go on working after the grant has ended, so nothing was delivered; ask for a longer ttl, or have the broker's operator declare the mount revocable",
		"ask for a longer --ttl, or have the operator declare the mount revocable: docs/revocation.md",
		"ask for a longer ttl, or tell the operator that the mount is not declared revocable."},
	ErrorReason_ERROR_REASON_RECORD_NOT_FOUND: {codes.NotFound, ReasonWrong, "there is no such record",
		"ask for an index below the checkpoint's size.",
		"tell the operator: the ledger does not have a record that it should."},
	ErrorReason_ERROR_REASON_INTERNAL: {codes.Internal, ReasonPassing, "a fault of the broker; its log has the cause",
		"tell the operator: the broker's log has the cause.",
		"try once more; then tell the operator, whose log has the cause."},
}

// Name is the reason as it is sent, recorded and said: NEEDS_APPROVAL.
func (x ErrorReason) Name() string { return strings.TrimPrefix(x.String(), reasonPrefix) }

// ReasonOf is the reason of a name, with the prefix that the enum has or without; UNSPECIFIED where there is none.
func ReasonOf(name string) ErrorReason {
	return ErrorReason(ErrorReason_value[reasonPrefix+strings.TrimPrefix(name, reasonPrefix)])
}

// Code is the gRPC code that it comes with; Unknown for a reason that is not known.
func (x ErrorReason) Code() codes.Code {
	if r, ok := reasons[x]; ok {
		return r.code
	}
	return codes.Unknown
}

// Text is what the broker tells the caller, where it has nothing more exact to tell.
func (x ErrorReason) Text() string { return reasons[x].text }

// unknownAdvice is what to do about a reason that is not in the table.
const unknownAdvice = "this version does not know the reason, and takes it for final: use the broker's version."

// Advice is what people do about it, with commands to type.
func (x ErrorReason) Advice() string {
	if r, ok := reasons[x]; ok {
		return r.advice
	}
	return unknownAdvice
}

// ToolAdvice is what an agent does about it, by the MCP server's tools.
func (x ErrorReason) ToolAdvice() string { return cmp.Or(reasons[x].toolAdvice, x.Advice()) }

// Kind is what a caller can make of it.
func (x ErrorReason) Kind() ReasonKind { return reasons[x].kind }

// Final says that the same call, sent again, gets the same answer.
func (x ErrorReason) Final() bool {
	switch x.Kind() {
	case ReasonPassing, ReasonLimited, ReasonWaiting:
		return false
	default:
		return true
	}
}
