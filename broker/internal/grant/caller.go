package grant

import (
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity"
)

// ErrNoCaller means that a call came without a caller of its kind, such as one past
// the interceptors. Every operation refuses it.
var ErrNoCaller = errors.New("no authenticated caller")

// caller is who calls, as step 1 found it, and the id that ties the call's records
// together. Its zero value is nobody, and reaches nothing.
type caller struct {
	agent       identity.Agent
	correlation string
}

// Someone is a caller of whichever kind.
type Someone interface {
	Check() error
	ID() string
	Agent() identity.Agent
}

// Caller is an agent that calls, for itself or by a delegate. Only NewCaller makes
// one; the zero Caller reaches nothing.
type Caller struct{ caller }

// Operator is one of the broker's operators. Only NewOperator makes one; the zero
// Operator reaches nothing.
type Operator struct{ caller }

// Approver is a person who may be asked to approve. Only NewApprover makes one; the
// zero Approver reaches nothing.
type Approver struct{ caller }

// NewCaller takes an agent as identity.Authenticate gives it. The error is an
// ErrNoCaller, for somebody who is none.
func NewCaller(who identity.Agent, correlation string) (Caller, error) {
	c, err := newCaller(who, identity.RoleAgent, correlation)
	return Caller{c}, err
}

// NewOperator is NewCaller for an operator.
func NewOperator(who identity.Agent, correlation string) (Operator, error) {
	c, err := newCaller(who, identity.RoleOperator, correlation)
	return Operator{c}, err
}

// NewApprover is NewCaller for an approver.
func NewApprover(who identity.Agent, correlation string) (Approver, error) {
	c, err := newCaller(who, identity.RoleApprover, correlation)
	return Approver{c}, err
}

func newCaller(who identity.Agent, as identity.Role, correlation string) (caller, error) {
	if !who.Valid() || who.Role() != as {
		return caller{}, fmt.Errorf("%w: %s is %s, and not %s", ErrNoCaller, who.ID(), who.Role(), as)
	}
	return caller{agent: who, correlation: correlation}, nil
}

// Check is the first thing that every operation does with its caller.
func (c caller) Check() error {
	if !c.agent.Valid() {
		return ErrNoCaller
	}
	return nil
}

// Owns says whether a row of this agent's is the caller's own.
func (c caller) Owns(agent string) bool { return c.agent.Valid() && c.ID() == agent }

// ID is the caller's SPIFFE ID.
func (c caller) ID() string { return c.agent.ID().String() }

// Agent is the caller, as step 1 found it.
func (c caller) Agent() identity.Agent { return c.agent }

// Correlation ties the records of the call together.
func (c caller) Correlation() string { return c.correlation }

// Delegate is who speaks for the agent; empty for itself.
func (c caller) Delegate() string {
	if d := c.agent.Delegate(); d != (spiffeid.ID{}) {
		return d.String()
	}
	return ""
}
