package mcp

import (
	"cmp"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// advice says what an agent does about a refusal: one of this server's own, or the broker's.
func advice(reason string) string {
	return cmp.Or(ownAdvice[reason], valetkeyv1.ReasonOf(reason).ToolAdvice())
}

// ownAdvice has a line for each of this server's own reasons but INTERNAL, which is the broker's too.
var ownAdvice = map[string]string{
	ReasonInvalidArgument: "correct the arguments; the tool's input schema says what they are.",
	ReasonTooLarge:        "send less: no argument of these tools is large.",
	ReasonUnknownHandle:   "use a handle that this session was given and that was not released; open_task and request_access give new ones.",
	ReasonLimit:           "release or close what is not needed any more: release, close_task.",
	ReasonDisabled:        "use request_access, and run the command in your own shell with the environment that it names; or ask the operator to turn this tool on.",
	ReasonNotReady:        "see what it waits for with access_status.",
	ReasonNotStarted:      "check the program's name and that the operator allows it.",
	ReasonNotServed:       "ask for another scope; this one's credential would have to be shown to be used.",
	ReasonUnavailable:     "try again shortly; if it stays, tell the operator that the broker does not answer.",
	ReasonBrokerIdentity:  "stop, and tell the operator.",
	ReasonReceipt:         "stop, and tell the operator: the ledger did not verify.",
}
