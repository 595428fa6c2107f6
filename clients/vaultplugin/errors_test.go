package vaultplugin

import (
	"errors"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestNothingFinalIsRepeated walks all reasons: Vault's clients send a request again by
// themselves after 429 and 5xx.
func TestNothingFinalIsRepeated(t *testing.T) {
	for n, name := range valetkeyv1.ErrorReason_name {
		r := valetkeyv1.ErrorReason(n)
		if n == 0 {
			continue
		}
		var coded logical.HTTPCodedError
		if err := answer("valetkey/", &valetkey.Error{Reason: r, Message: "m"}); !errors.As(err, &coded) {
			t.Errorf("%s has no code: %v", name, err)
			continue
		}
		again := coded.Code() == http.StatusTooManyRequests || coded.Code() >= 500
		ours := r == valetkeyv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED || r == valetkeyv1.ErrorReason_ERROR_REASON_UNKNOWN_TRUST_DOMAIN // of the plugin's SVID
		if again && r.Final() && !ours {
			t.Errorf("%s is final, and answered with %d", name, coded.Code())
		}
	}
	if code := codeOf(&valetkey.Error{Reason: valetkeyv1.ErrorReason_ERROR_REASON_UNPROVEN}); code != http.StatusForbidden {
		t.Errorf("UNPROVEN is answered with %d", code)
	}
}
