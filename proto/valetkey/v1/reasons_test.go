package valetkeyv1_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestEveryReasonHasARow(t *testing.T) {
	for n, name := range valetkeyv1.ErrorReason_name {
		r := valetkeyv1.ErrorReason(n)
		if n == 0 { // never sent
			if r.Kind() != valetkeyv1.ReasonUnknown || r.Code() != codes.Unknown || r.Text() != "" || r.Advice() == "" || !r.Final() {
				t.Errorf("%s has a row", name)
			}
			continue
		}
		if r.Kind() == valetkeyv1.ReasonUnknown || r.Code() == codes.OK || r.Code() == codes.Unknown || r.Text() == "" || r.Advice() == "" || r.ToolAdvice() == "" {
			t.Errorf("%s is of kind %d, code %s, and says %q, %q and %q", name, r.Kind(), r.Code(), r.Text(), r.Advice(), r.ToolAdvice())
		}
		if r.Name() == name || valetkeyv1.ReasonOf(r.Name()) != r {
			t.Errorf("%s is called %s, which is %v", name, r.Name(), valetkeyv1.ReasonOf(r.Name()))
		}
		// gRPC's clients send a call again by themselves where the code is Unavailable, and people read it so.
		if again := r.Code() == codes.Unavailable || r.Code() == codes.Internal; again != (r.Kind() == valetkeyv1.ReasonPassing) && r.Code() != codes.Unauthenticated {
			t.Errorf("%s: %s, and of kind %d", name, r.Code(), r.Kind())
		}
		for _, advice := range []string{r.Advice(), r.ToolAdvice()} {
			if r.Final() && r != valetkeyv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT && strings.Contains(advice, "try again") { // whose call is another
				t.Errorf("%s is final, and the advice is: %s", name, advice)
			}
		}
	}
	if r := valetkeyv1.ErrorReason(9999); !r.Final() {
		t.Error("a reason that nobody knows is not final")
	}
	if !valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN.Final() {
		t.Error("what is not proven is asked for again")
	}
	if r := valetkeyv1.ReasonOf("NO_SUCH"); r != valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		t.Errorf("a name that is none is %v", r)
	}
}
