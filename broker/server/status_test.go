package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/store"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes"
)

func TestEveryReasonHasARow(t *testing.T) {
	have := map[valetkeyv1.ErrorReason]bool{
		valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED: true, // never sent
		valetkeyv1.ErrorReason_ERROR_REASON_INTERNAL:    true, // what has no row
	}
	for _, r := range table() {
		have[r.reason] = true
		if r.text == "" || r.code == codes.OK || r.err == nil {
			t.Errorf("row %v is not filled", r.reason)
		}
	}
	for n, name := range valetkeyv1.ErrorReason_name {
		if !have[valetkeyv1.ErrorReason(n)] {
			t.Errorf("%s has no row", name)
		}
	}
}

func TestNoRowHidesAnother(t *testing.T) {
	for _, r := range table() {
		if got := rowOf(fmt.Errorf("doing: %w", r.err)); !errors.Is(got.err, r.err) || got.reason != r.reason {
			t.Errorf("%v is answered as %v", r.err, got.reason)
		}
	}
}

func TestCausesStayInside(t *testing.T) {
	for _, err := range []error{
		fmt.Errorf("%w: /var/lib/secret-path: disk full", store.ErrUnavailable),
		errors.New("dial tcp 10.1.2.3: secret-path"),
	} {
		if text := status.Convert(statusOf(err, "")).String(); strings.Contains(text, "secret-path") {
			t.Errorf("the caller is told %q", text)
		}
	}
}

func TestLongDetailIsCut(t *testing.T) {
	err := statusOf(fmt.Errorf("%w: %s", scopes.ErrParameter, strings.Repeat("\u00e9", 4000)), "")
	if n := len(status.Convert(err).Message()); n > 2100 {
		t.Errorf("%d bytes", n)
	}
}
