package valetkey

import (
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// errorDomain is the ErrorInfo domain of the broker's own reasons.
const errorDomain = "valetkey.dev"

// Refusal is a broker's answer of no.
type Refusal struct {
	// Reason is never ERROR_REASON_UNSPECIFIED.
	Reason valetkeyv1.ErrorReason
	// Message is the broker's text for the caller.
	Message string
	// Details are the broker's facts about this refusal; may be empty.
	Details map[string]string
}

// RefusalOf returns the broker's reason for err. It is false for errors that
// do not come from a broker, such as a lost connection.
func RefusalOf(err error) (Refusal, bool) {
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return Refusal{}, false
	}
	for _, d := range s.GRPCStatus().Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != errorDomain {
			continue
		}
		// ErrorInfo's own convention has no prefix.
		reason, ok := valetkeyv1.ErrorReason_value["ERROR_REASON_"+strings.TrimPrefix(info.GetReason(), "ERROR_REASON_")]
		if !ok || reason == 0 {
			continue
		}
		return Refusal{Reason: valetkeyv1.ErrorReason(reason), Message: s.GRPCStatus().Message(), Details: info.GetMetadata()}, true
	}
	return Refusal{}, false
}
