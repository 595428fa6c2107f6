package valetkey_test

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// A reason that only a newer broker has is a refusal, and final, whatever code it comes with.
func TestUnknownReasonIsFinal(t *testing.T) {
	for name, want := range map[string]string{
		"QUARANTINED": "QUARANTINED", "": "UNKNOWN", "a\nNext: x": "UNKNOWN", "ERROR_REASON_UNSPECIFIED": "ERROR_REASON_UNSPECIFIED",
	} {
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			s, err := status.New(code, "no").WithDetails(&errdetails.ErrorInfo{Domain: valetkeyv1.ErrorDomain, Reason: name})
			must(t, err)
			r, ok := valetkey.RefusalOf(s.Err())
			if !ok || valetkey.Passing(s.Err()) || !r.Reason.Final() || r.ReasonName() != want || r.Reason.Advice() == "" {
				t.Errorf("%q with %s: %v %s %q, advice %q", name, code, ok, r.Reason, r.ReasonName(), r.Reason.Advice())
			}
		}
	}
	s, err := status.New(codes.PermissionDenied, "no").WithDetails(&errdetails.ErrorInfo{Domain: "another.dev", Reason: "QUARANTINED"})
	must(t, err)
	if _, ok := valetkey.RefusalOf(s.Err()); ok {
		t.Error("a proxy's reason is a broker's")
	}
}
