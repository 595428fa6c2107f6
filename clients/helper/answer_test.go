package helper

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/clients/valetkey"
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
