package grant

import (
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

var (
	// ErrTaskNotFound means that the caller has no such task.
	ErrTaskNotFound = errors.New("task not found")
	// ErrTaskClosed means that the task has ended.
	ErrTaskClosed = errors.New("task closed")
	// ErrGrantNotFound means that the caller has no such grant.
	ErrGrantNotFound = errors.New("grant not found")
	// ErrGrantEnded means that the grant cannot be minted from any more.
	ErrGrantEnded = errors.New("grant ended")
	// ErrRejected means that people said no to this grant, or to the same shortly
	// before.
	ErrRejected = fmt.Errorf("rejected by an approver: %w", quorum.ErrDenied)
	// ErrLapsed means that people did not say enough in time.
	ErrLapsed = fmt.Errorf("not approved in time: %w", ErrGrantEnded)
	// ErrTooManyPending means that as many requests of the agent's, of its delegate's
	// or of all agents' wait for people as may.
	ErrTooManyPending = fmt.Errorf("too many requests wait for people: %w", guard.ErrRateLimited)
	// ErrSettled means that a vote comes too late: the grant has ended, or a yes is
	// wanted of nobody any more.
	ErrSettled = errors.New("not waiting for approval")
	// ErrFrozenApprover means that an operator has stopped this person's decisions.
	ErrFrozenApprover = fmt.Errorf("approver frozen: %w", guard.ErrFrozen)
	// ErrConflict means that an idempotency key came before with other content.
	ErrConflict = errors.New("idempotency key used with other content")
	// ErrAlreadyIssued means that a repeat asks for a secret that was delivered
	// or lost. Secrets are not kept, so it cannot be sent again.
	ErrAlreadyIssued = errors.New("already issued")
)

// What an edge refuses before anything is looked at.
var (
	// ErrInvalid means that a request breaks a rule of the schema.
	ErrInvalid = errors.New("invalid request")
	// ErrNotAllowed means that the caller is known, and may not make this call.
	ErrNotAllowed = errors.New("caller not allowed")
	// ErrTooMuchOpen means that a caller has as many connections, or calls without a
	// message, as it may.
	ErrTooMuchOpen = errors.New("too many connections or calls are open")
	// ErrTooManyWatches means that the agent watches as many grants at once as it may.
	ErrTooManyWatches = fmt.Errorf("too many watches: %w", guard.ErrRateLimited)
)

// IsRefusal tells an answer from a fault: only answers are recorded as denials.
func IsRefusal(err error) bool {
	return errors.Is(err, guard.ErrFrozen) || errors.Is(err, quorum.ErrNeeded) || errors.Is(err, quorum.ErrDenied) || errors.Is(err, ErrTooManyPending)
}

// NotFound is err, but as for a row that is not there.
func NotFound(err, as error) error {
	if errors.Is(err, store.ErrNotFound) {
		return as
	}
	return err
}

// Mintable says why g, of which people have said t, cannot be minted from; nil where it can.
func Mintable(g store.Grant, t quorum.Tally) error {
	switch g.State {
	case store.GrantCleared, store.GrantActive:
		return nil
	case store.GrantPending:
		return &quorum.NeededError{Needs: quorum.Lacking(g.Needs, t)}
	case store.GrantRejected:
		return ErrRejected
	case store.GrantLapsed:
		return ErrLapsed
	default:
		return ErrGrantEnded
	}
}

// FirstAnswer is what the request that made g was refused with; nil where it was not.
func FirstAnswer(g store.Grant) error {
	switch {
	case g.Case != nil: // people decide, and the grant says how far they are
		return nil
	case len(g.Needs) > 0:
		return &quorum.NeededError{Needs: g.Needs}
	case g.Frozen:
		return guard.ErrFrozen
	case g.Refusal == store.RefusedRejected:
		return ErrRejected
	case g.Refusal == store.RefusedTooMany:
		return ErrTooManyPending
	case g.State == store.GrantDenied:
		return quorum.ErrDenied
	default:
		return nil
	}
}
