package vault_test

import (
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/mint"
)

// check holds err against its sentinel and against whether a credential may exist.
func check(t *testing.T, err, want error, maybe bool) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if got := mint.Maybe(err); got != maybe {
		t.Errorf("Maybe is %v for %v", got, err)
	}
}
