package awssts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
)

// throttled is a refusal that may be repeated; only classify makes it.
type throttled struct{ error }

func (t throttled) Unwrap() error { return t.error }

func repeatable(err error) bool {
	var t throttled
	return errors.As(err, &t) || errors.Is(err, upstream.ErrNotConnected)
}

// code is what an upstream's error code must look like to be quoted: nothing else of
// an answer is, since messages can echo what was sent.
var code = regexp.MustCompile(`^[A-Za-z.]{1,64}$`)

// classify turns an SDK error into mint's sentinels. It keeps the error code and
// drops the rest. now is our clock: a refusal by a server whose clock is another
// says so, since AWS calls it a wrong signature.
func classify(ctx context.Context, err error, now time.Time) error {
	status := 0
	var clock error
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
		if at, derr := http.ParseTime(resp.Response.Header.Get("Date")); derr == nil {
			clock = apart(at, now)
		}
	}
	name := "unnamed error"
	var api smithy.APIError
	if errors.As(err, &api) && code.MatchString(api.ErrorCode()) {
		name = api.ErrorCode()
	}
	_, isThrottle := retry.DefaultThrottleErrorCodes[name]
	switch {
	case status == 0:
		return upstream.Unanswered(ctx, "STS", err)
	case isThrottle || status == http.StatusTooManyRequests:
		return mint.Harmless(throttled{fmt.Errorf("STS throttled (%d %s): %w", status, name, mint.ErrUnavailable)})
	case name == "PackedPolicyTooLarge" || name == "PackedPolicyTooLargeException":
		return fmt.Errorf("STS answered %d %s: %w", status, name, mint.ErrTooLarge)
	case name == "IDPCommunicationError":
		return mint.Harmless(fmt.Errorf("STS answered %d %s: %w", status, name, mint.ErrUnavailable))
	case status >= 500:
		return fmt.Errorf("STS answered %d %s: %w", status, name, mint.ErrUnavailable)
	case status >= 400 && clock != nil:
		return fmt.Errorf("STS answered %d %s, and %w: %w", status, name, clock, mint.ErrRefused)
	case status >= 400:
		return fmt.Errorf("STS answered %d %s: %w", status, name, mint.ErrRefused)
	default:
		return fmt.Errorf("reading STS answer %d: %w", status, mint.ErrInvalid)
	}
}
