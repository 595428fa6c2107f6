package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Outcomes that are no error of a call, and still not success.
var (
	errDenied        = errors.New("denied")
	errNeedsApproval = errors.New("needs approval")
	errTables        = errors.New("the policy tables do not hold")
)

// exitCode gives the code that an error leaves with.
func exitCode(err error) int {
	var a *answerError
	var s *statusError
	switch {
	case errors.As(err, &s):
		return s.code
	case errors.As(err, &a):
		return a.code
	case errors.Is(err, logverify.ErrVerification), errors.Is(err, errTables):
		return exitVerification
	case errors.Is(err, errNeedsApproval):
		return exitNeedsApproval
	case errors.Is(err, errDenied):
		return exitDenied
	}
	r, ok := valetkey.RefusalOf(err)
	if !ok {
		return exitError
	}
	switch r.Reason {
	case valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL:
		return exitNeedsApproval
	case valetkeyv1.ErrorReason_ERROR_REASON_DENIED,
		valetkeyv1.ErrorReason_ERROR_REASON_REJECTED,
		valetkeyv1.ErrorReason_ERROR_REASON_NOT_ELIGIBLE,
		valetkeyv1.ErrorReason_ERROR_REASON_POLICY_ERROR,
		valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED,
		valetkeyv1.ErrorReason_ERROR_REASON_FROZEN,
		valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED,
		valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN:
		return exitDenied
	default:
		return exitError
	}
}

// printError says what went wrong and what to do next. What others wrote, such as the names of files, drives no
// terminal.
func printError(w io.Writer, err error) {
	var b strings.Builder
	writeError(&b, err)
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintln(w, clean(strings.TrimSuffix(line, "\n")))
	}
}

func writeError(w io.Writer, err error) {
	if a := (*answerError)(nil); errors.As(err, &a) && a.text == "" {
		return // the answer itself has been printed
	}
	if s := (*statusError)(nil); errors.As(err, &s) && s.err == nil {
		return // what ran has said what there is to say
	}
	r, ok := valetkey.RefusalOf(err)
	if !ok {
		_, _ = fmt.Fprintf(w, "valetkey: %v\n", plain(err))
		if status.Code(err) == codes.Unavailable || errors.Is(err, valetkey.ErrUnavailable) {
			_, _ = fmt.Fprintln(w, "Next: check --broker and --broker-id, and that the broker is running.")
		}
		if errors.Is(err, valetkey.ErrReceipt) {
			_, _ = fmt.Fprintln(w, "Next: check --ledger-key. If it is right, use nothing of this broker and tell its operator; valetkey release ends the grant.")
		}
		return
	}
	_, _ = fmt.Fprintf(w, "valetkey: %s: %s\n", reasonName(r.Reason), r.Message)
	for _, k := range slices.Sorted(maps.Keys(r.Details)) {
		_, _ = fmt.Fprintf(w, "  %s: %s\n", k, r.Details[k])
	}
	next := advice(r.Reason)
	if nw := (*noWaitError)(nil); errors.As(err, &nw) {
		next = "say --wait, to start the command once they have approved. Without it the request ended here."
	}
	if next != "" {
		_, _ = fmt.Fprintf(w, "Next: %s\n", next)
	}
}

// plain drops the frame that gRPC puts around an error text.
func plain(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return fmt.Sprintf("%s: %s", s.Code(), s.Message())
	}
	return err.Error()
}

// reasonName is the reason as people say it: NEEDS_APPROVAL.
func reasonName(r valetkeyv1.ErrorReason) string {
	return strings.TrimPrefix(r.String(), "ERROR_REASON_")
}

// advice says what to do about a refusal. A test holds it to have a line for
// every reason.
func advice(r valetkeyv1.ErrorReason) string {
	switch r {
	case valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		return ""
	case valetkeyv1.ErrorReason_ERROR_REASON_INVALID_REQUEST:
		return "correct the argument that the message names."
	case valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED:
		return "check that your Workload API gives you an SVID."
	case valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN:
		return "use an identity of a trust domain that this broker lists, or ask its operator to federate yours."
	case valetkeyv1.ErrorReason_ERROR_REASON_SVID_EXPIRED:
		return "fetch a fresh SVID and try again."
	case valetkeyv1.ErrorReason_ERROR_REASON_WRONG_AUDIENCE:
		return "fetch a JWT-SVID for this broker's audience."
	case valetkeyv1.ErrorReason_ERROR_REASON_CALLER_NOT_ALLOWED:
		return "use the identity that this call is for; operators and people who approve are listed in the broker's config."
	case valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_SCOPE:
		return "see what there is: valetkey scopes"
	case valetkeyv1.ErrorReason_ERROR_REASON_STALE_SCOPE_VERSION:
		return "look at the scope as it is now, then ask again: valetkey scopes"
	case valetkeyv1.ErrorReason_ERROR_REASON_INVALID_PARAMETER:
		return "see the scope's parameters: valetkey scopes -o json"
	case valetkeyv1.ErrorReason_ERROR_REASON_TTL_TOO_LONG:
		return "ask for a shorter --ttl; valetkey scopes shows the most."
	case valetkeyv1.ErrorReason_ERROR_REASON_POLICY_TOO_LARGE:
		return "ask for fewer resources at once."
	case valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN:
		return "ask for something narrower, or tell the operator: the scope can make more of its values than its author meant."
	case valetkeyv1.ErrorReason_ERROR_REASON_DENIED:
		return "see why, and what would be allowed: valetkey explain SCOPE k=v..."
	case valetkeyv1.ErrorReason_ERROR_REASON_NEEDS_APPROVAL:
		return "ask for something narrower, or have the people named above approve."
	case valetkeyv1.ErrorReason_ERROR_REASON_REJECTED:
		return "ask whoever said no; do not ask for the same again."
	case valetkeyv1.ErrorReason_ERROR_REASON_LAPSED:
		return "ask again when somebody is there to approve it."
	case valetkeyv1.ErrorReason_ERROR_REASON_INVALID_APPROVAL:
		return "sign with a key that the broker's config lists for you: valetkey approve GRANT --key FILE"
	case valetkeyv1.ErrorReason_ERROR_REASON_NOT_ELIGIBLE:
		return "leave this one to others: valetkey approvals lists what is yours to decide."
	case valetkeyv1.ErrorReason_ERROR_REASON_NOT_PENDING:
		return "see what still waits: valetkey approvals"
	case valetkeyv1.ErrorReason_ERROR_REASON_POLICY_ERROR:
		return "tell the operator: the broker's log names the policy that fails."
	case valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED:
		return "wait, as the message says, and mint again from the grant you have rather than asking for new ones."
	case valetkeyv1.ErrorReason_ERROR_REASON_FROZEN:
		return "ask the operator why; only valetkey unfreeze ends it."
	case valetkeyv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND:
		return "open a task with this identity: valetkey task open"
	case valetkeyv1.ErrorReason_ERROR_REASON_TASK_CLOSED:
		return "open a new task: valetkey task open"
	case valetkeyv1.ErrorReason_ERROR_REASON_GRANT_NOT_FOUND:
		return "use a grant that this identity asked for."
	case valetkeyv1.ErrorReason_ERROR_REASON_GRANT_ENDED:
		return "ask for a new grant: valetkey request SCOPE k=v... --task ID"
	case valetkeyv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT:
		return "use a new idempotency key for a new call."
	case valetkeyv1.ErrorReason_ERROR_REASON_ALREADY_ISSUED:
		return "mint again: valetkey mint GRANT"
	case valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_UNAVAILABLE:
		return "try again shortly; STS or Vault does not answer the broker."
	case valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_REFUSED:
		return "tell the operator: STS or Vault refuses the broker's own role."
	case valetkeyv1.ErrorReason_ERROR_REASON_UPSTREAM_INVALID:
		return "tell the operator: STS or Vault answered something else than was asked."
	case valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE:
		return "tell the operator: the broker issues nothing that it cannot record."
	case valetkeyv1.ErrorReason_ERROR_REASON_INVALID_CATALOG:
		return "check the files: valetkey catalog check DIR; the old catalog goes on serving."
	case valetkeyv1.ErrorReason_ERROR_REASON_RECORD_NOT_FOUND:
		return "ask for an index below the checkpoint's size."
	case valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL:
		return "tell the operator: the broker's log has the cause."
	}
	return ""
}
