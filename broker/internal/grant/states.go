package grant

import (
	"errors"
	"fmt"
	"slices"

	"github.com/valetkey/valetkey/broker/store"
)

// errStep means that a row was to take a step that its state does not allow: a fault of
// the broker's own.
var errStep = errors.New("no such step")

// undecided is the state of a row that no store has seen.
const undecided = ""

// grantSteps are the states that a grant can come from, by the one that it comes to.
var grantSteps = map[store.GrantState][]store.GrantState{
	store.GrantPending:  {undecided},
	store.GrantDenied:   {undecided},
	store.GrantCleared:  {undecided, store.GrantPending},
	store.GrantActive:   {store.GrantCleared, store.GrantActive},
	store.GrantRejected: {store.GrantPending, store.GrantCleared, store.GrantActive},
	store.GrantLapsed:   {store.GrantPending},
	store.GrantExpired:  {store.GrantCleared, store.GrantActive},
	store.GrantReleased: {store.GrantPending, store.GrantCleared, store.GrantActive},
	store.GrantRevoked:  {store.GrantPending, store.GrantCleared, store.GrantActive},
}

// issuanceSteps are an issuance's. A call that was slow finds its intent orphaned, and
// still says what it knows.
var issuanceSteps = map[store.IssuanceState][]store.IssuanceState{
	store.IssuanceIntended:  {undecided},
	store.IssuanceIssued:    {store.IssuanceIntended},
	store.IssuanceAbandoned: {store.IssuanceIntended, store.IssuanceOrphaned},
	store.IssuanceOrphaned:  {store.IssuanceIntended, store.IssuanceIssued, store.IssuanceOrphaned},
}

// step moves a row's state on.
func step[S ~string](state *S, to S, steps map[S][]S) error {
	if !slices.Contains(steps[to], *state) {
		return fmt.Errorf("%w: from %q to %q", errStep, *state, to)
	}
	*state = to
	return nil
}
