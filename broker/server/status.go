package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// statusOf is the answer for err. grantID names a refused grant, if there is one.
func statusOf(err error, grantID string) error {
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	case errors.Is(err, context.DeadlineExceeded) && reasons.Of(err).Reason == valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL:
		return status.Error(codes.DeadlineExceeded, "the call took too long")
	}
	a := reasons.Of(err)
	text := a.Text
	if len(text) > 2048 {
		text = strings.ToValidUTF8(text[:2048], "") + "..." // a caller's own long input comes back short
	}
	info := &errdetails.ErrorInfo{Domain: valetkeyv1.ErrorDomain, Reason: a.Reason.Name(), Metadata: map[string]string{}}
	if grantID != "" {
		info.Metadata["grant_id"] = grantID
	}
	var outlives *mint.OutlivesError
	if errors.As(err, &outlives) && !outlives.Until.IsZero() {
		info.Metadata["works_until"] = outlives.Until.UTC().Format(time.RFC3339)
	}
	details := []protoadapt.MessageV1{info}
	var needed *quorum.NeededError
	if errors.As(err, &needed) {
		details = append(details, &valetkeyv1.ApprovalNeeded{Needs: needsOut(needed.Needs)})
	}
	var limited *guard.RateError
	if errors.As(err, &limited) {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(limited.Wait)})
	}
	st := status.New(a.Reason.Code(), text)
	with, derr := st.WithDetails(details...)
	if derr != nil {
		return st.Err()
	}
	return with.Err()
}
