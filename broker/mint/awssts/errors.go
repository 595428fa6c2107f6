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

// answered is the status and the error code of an SDK error; no status without an answer.
func answered(err error) (status int, name string) {
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) && code.MatchString(api.ErrorCode()) {
		return status, api.ErrorCode()
	}
	return status, "unnamed error"
}

// classify turns an SDK error into mint's sentinels. It keeps the error code and
// drops the rest. now is our clock: a refusal by a server whose clock is another
// says so, since AWS calls it a wrong signature.
func classify(ctx context.Context, service string, err error, now time.Time) error {
	status, name := answered(err)
	var clock error
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		if at, derr := http.ParseTime(resp.Response.Header.Get("Date")); derr == nil {
			clock = apart(at, now)
		}
	}
	_, isThrottle := retry.DefaultThrottleErrorCodes[name]
	switch {
	case status == 0:
		return upstream.Unanswered(ctx, service, err)
	case isThrottle || status == http.StatusTooManyRequests:
		return mint.Harmless(throttled{fmt.Errorf("%s throttled (%d %s): %w", service, status, name, mint.ErrUnavailable)})
	case name == "PackedPolicyTooLarge" || name == "PackedPolicyTooLargeException":
		return fmt.Errorf("%s answered %d %s: %w", service, status, name, mint.ErrTooLarge)
	case name == "IDPCommunicationError":
		return mint.Harmless(fmt.Errorf("%s answered %d %s: %w", service, status, name, mint.ErrUnavailable))
	case status >= 500:
		return fmt.Errorf("%s answered %d %s: %w", service, status, name, mint.ErrUnavailable)
	case status >= 400 && clock != nil:
		return fmt.Errorf("%s answered %d %s, and %w: %w", service, status, name, clock, mint.ErrRefused)
	case status >= 400:
		return fmt.Errorf("%s answered %d %s: %w", service, status, name, mint.ErrRefused)
	default:
		return fmt.Errorf("reading %s answer %d: %w", service, status, mint.ErrInvalid)
	}
}
