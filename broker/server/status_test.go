package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

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
