package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestWhatABrokerIsNotBelieved is no outage: programs are not to ask again.
func TestWhatABrokerIsNotBelieved(t *testing.T) {
	for err, want := range map[error]int{
		valetkey.ErrReceipt: http.StatusForbidden, valetkey.ErrForked: http.StatusForbidden, valetkey.ErrRolledBack: http.StatusForbidden,
		valetkey.ErrNotAsked: http.StatusForbidden, valetkey.ErrControlCharacter: http.StatusForbidden,
		valetkey.ErrUnavailable: http.StatusServiceUnavailable, errors.New("other"): http.StatusServiceUnavailable,
	} {
		code, text := refusalStatus(fmt.Errorf("minting: %w", err))
		if code != want || !strings.Contains(text, err.Error()) || strings.Contains(text, "VALETKEY_ADDR") != (want == http.StatusServiceUnavailable) {
			t.Errorf("%v: %d %s", err, code, text)
		}
	}
}

// TestNothingFinalIsAskedAgain walks all reasons: SDKs ask again after 429 and 5xx.
func TestNothingFinalIsAskedAgain(t *testing.T) {
	for n, name := range valetkeyv1.ErrorReason_name {
		r := valetkeyv1.ErrorReason(n) // 0 stands for one of a newer broker
		code, _ := refusalStatus(&valetkey.Error{Reason: r, Message: "m"})
		if again := code == http.StatusTooManyRequests || code >= 500; again == (r.Final() || r.Kind() == valetkeyv1.ReasonWaiting) {
			t.Errorf("%s is answered with %d", name, code)
		}
	}
}
