package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Reasons of this server's own. All others are the broker's, see
// valetkeyv1.ErrorReason, without their prefix.
const (
	// ReasonInvalidArgument is a call whose arguments break the tool's schema.
	ReasonInvalidArgument = "INVALID_ARGUMENT"
	// ReasonTooLarge is a call that is larger than any honest one.
	ReasonTooLarge = "TOO_LARGE"
	// ReasonUnknownHandle is a handle that this session does not have.
	ReasonUnknownHandle = "UNKNOWN_HANDLE"
	// ReasonLimit is a session that holds or does too much at once.
	ReasonLimit = "LIMIT"
	// ReasonDisabled is a tool that the operator has not turned on.
	ReasonDisabled = "DISABLED"
	// ReasonNotReady is access that cannot be used as it stands.
	ReasonNotReady = "NOT_READY"
	// ReasonNotStarted is a command that could not be started.
	ReasonNotStarted = "NOT_STARTED"
	// ReasonNotServed is a credential of a kind that no tool takes from its
	// surroundings.
	ReasonNotServed = "NOT_SERVED"
	// ReasonUnavailable is a broker that does not answer.
	ReasonUnavailable = "UNAVAILABLE"
	// ReasonBrokerIdentity is somebody else at the broker's address.
	ReasonBrokerIdentity = "BROKER_IDENTITY"
	// ReasonReceipt is a receipt that proves nothing.
	ReasonReceipt = "RECEIPT"
	// ReasonInternal is a fault of this server.
	ReasonInternal = "INTERNAL"
)

// Refusal is what a tool says that does not do what it was asked: in the result's
// second content block as JSON, and in the first for people. It holds no secret.
type Refusal struct { //nolint:errname // an answer of the protocol first, and an error on the way there
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Next is what to do about it.
	Next              string  `json:"next"`
	Needs             []Need  `json:"needs,omitempty"`
	RetryAfterSeconds float64 `json:"retry_after_seconds,omitempty"`
	// GrantID is the broker's, for people who look it up.
	GrantID string `json:"grant_id,omitempty"`
}

// Need is how many people of a group have to approve.
type Need = valetkey.Need

func (r *Refusal) Error() string { return r.Reason + ": " + r.Message }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: line(fmt.Sprintf(format, args...), maxDescription), Next: advice(reason)}
}

// refusalOf makes a refusal of any error. What it does not know stays inside:
// the error goes to the log, and the agent learns that there is one.
func refusalOf(err error) (r *Refusal, known bool) {
	if errors.As(err, &r) {
		return r, true
	}
	if said, ok := valetkey.RefusalOf(err); ok {
		return &Refusal{
			Reason: said.ReasonName(), Message: line(said.Message, maxDescription), Next: said.Reason.ToolAdvice(),
			Needs: needsOf(said.Needs), RetryAfterSeconds: said.RetryAfter.Seconds(), GrantID: line(said.GrantID, maxLine),
		}, true
	}
	switch {
	case errors.Is(err, valetkey.ErrBrokerIdentity):
		return refuse(ReasonBrokerIdentity, "whoever answers at the broker's address is not the broker"), true
	case errors.Is(err, valetkey.ErrReceipt), errors.Is(err, valetkey.ErrForked), errors.Is(err, valetkey.ErrRolledBack):
		return refuse(ReasonReceipt, "the broker did not prove that this is on the record, so nothing was handed out"), true
	case errors.Is(err, serve.ErrNothingToServe):
		return refuse(ReasonNotServed, "%v", serve.ErrNothingToServe), true
	case errors.Is(err, valetkey.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, valetkey.ErrClosed):
		return refuse(ReasonUnavailable, "the broker gave no answer; nothing was decided"), true
	}
	return refuse(ReasonInternal, "a fault inside the valetkey MCP server"), false
}

func needsOf(in []valetkey.Need) []Need {
	var out []Need
	for _, n := range in {
		out = append(out, Need{Group: line(n.Group, maxLine), Approvals: n.Approvals})
	}
	return out
}

func wireNeeds(in []*valetkeyv1.Need) []Need {
	var out []Need
	for _, n := range in {
		out = append(out, Need{Group: line(n.GetGroup(), maxLine), Approvals: int(n.GetApprovals())})
	}
	return out
}

// result is the refusal as a tool's answer. It has no structured content: that
// belongs to the tool's own schema, and some clients hold errors to it too.
func (r *Refusal) result() *sdk.CallToolResult {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n", r.Reason, r.Message)
	for _, n := range r.Needs {
		fmt.Fprintf(&text, "Needs: %d of group %s\n", n.Approvals, n.Group)
	}
	if r.RetryAfterSeconds > 0 {
		fmt.Fprintf(&text, "Ask again in %.1f seconds.\n", r.RetryAfterSeconds)
	}
	fmt.Fprintf(&text, "Next: %s", r.Next)
	raw, err := json.Marshal(r)
	if err != nil { // strings and numbers: cannot be
		raw = []byte("{}")
	}
	return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: text.String()}, &sdk.TextContent{Text: string(raw)}}}
}
