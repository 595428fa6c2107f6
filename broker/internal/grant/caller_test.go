package grant

import (
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/identity"
)

func TestNobodyIsNoCaller(t *testing.T) {
	if c, err := NewCaller(identity.Agent{}, "x"); !errors.Is(err, ErrNoCaller) || c.Owns("") {
		t.Errorf("nobody is a caller: %v", err)
	}
	if c, err := NewOperator(identity.Agent{}, "x"); !errors.Is(err, ErrNoCaller) || c.Owns("") {
		t.Errorf("nobody is an operator: %v", err)
	}
	if c, err := NewApprover(identity.Agent{}, "x"); !errors.Is(err, ErrNoCaller) || c.Owns("") {
		t.Errorf("nobody is an approver: %v", err)
	}
}
