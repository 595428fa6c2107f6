package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/internal/grant"
)

// entered is who made a call, and the id that ties its records and log lines
// together. who is zero until step 1 has found it.
type entered struct {
	who         identity.Agent
	correlation string
}

type enteredKey struct{}

// enter is step 1 for one call.
func (e *edge) enter(ctx context.Context, name string) (context.Context, entered, error) {
	c := entered{correlation: strings.ToLower(rand.Text())}
	who, err := e.cfg.Auth.Authenticate(ctx)
	if err != nil {
		return ctx, c, err
	}
	c.who = who
	if may := e.methods[name].who; !slices.Contains(may, who.Role()) {
		return ctx, c, fmt.Errorf("%w: it is %s, and %s is for %s", grant.ErrNotAllowed, who.Role(), name, may)
	}
	return context.WithValue(ctx, enteredKey{}, c), c, nil
}

// callerOf is the agent that calls. Where the tap has not let it in, or as
// somebody else, it is the zero Caller, which the broker refuses.
func callerOf(ctx context.Context) grant.Caller {
	in, _ := ctx.Value(enteredKey{}).(entered)
	c, _ := grant.NewCaller(in.who, in.correlation)
	return c
}

// operatorOf is callerOf for an operator.
func operatorOf(ctx context.Context) grant.Operator {
	in, _ := ctx.Value(enteredKey{}).(entered)
	c, _ := grant.NewOperator(in.who, in.correlation)
	return c
}

// approverOf is callerOf for a person who approves.
func approverOf(ctx context.Context) grant.Approver {
	in, _ := ctx.Value(enteredKey{}).(entered)
	c, _ := grant.NewApprover(in.who, in.correlation)
	return c
}

// someoneOf is the caller of a call that is for more than one kind of them.
func someoneOf(ctx context.Context) grant.Someone {
	in, _ := ctx.Value(enteredKey{}).(entered)
	switch in.who.Role() {
	case identity.RoleOperator:
		return operatorOf(ctx)
	case identity.RoleApprover:
		return approverOf(ctx)
	default:
		return callerOf(ctx)
	}
}
