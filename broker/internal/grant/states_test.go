package grant

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// What has ended stays ended, nothing begins twice, and every state can be reached.
func TestSteps(t *testing.T) {
	for to, from := range grantSteps {
		if slices.ContainsFunc(from, func(s store.GrantState) bool { return s != undecided && !s.Open() }) {
			t.Errorf("%s follows an end: %v", to, from)
		}
	}
	for _, s := range []store.GrantState{
		store.GrantPending, store.GrantDenied, store.GrantRejected, store.GrantLapsed, store.GrantCleared,
		store.GrantActive, store.GrantExpired, store.GrantReleased, store.GrantRevoked,
	} {
		if len(grantSteps[s]) == 0 {
			t.Errorf("nothing leads to %s", s)
		}
		if s.Open() != slices.Contains(grantSteps[store.GrantReleased], s) {
			t.Errorf("%s: open is %v, and it can be released: %v", s, s.Open(), !s.Open())
		}
	}
	if len(issuanceSteps) != 4 {
		t.Errorf("%d states of issuances", len(issuanceSteps))
	}
}

// An end of what has ended, a life without a clearance, and one on too few votes are
// refused, each by the function that would begin it.
func TestStepsAreHeld(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	over := store.Grant{ID: "g", State: store.GrantRevoked}
	for name, err := range map[string]error{
		"a second end": func() error { _, err := ByOperator(Operator{}, "x").Grant(over, nil, now); return err }(),
		"an issuance of what has ended": func() error {
			_, _, err := Opening{}.Close(now, store.IssuanceIntended, nil).Issued(over)
			return err
		}(),
		"an outcome of no intent": func() error {
			_, err := Opening{}.Close(now, store.IssuanceAbandoned, nil).Orphaned("x", "x")
			return err
		}(),
		"a second intent":  func() error { _, err := Orphan(store.Issuance{State: store.IssuanceAbandoned}, "x", now); return err }(),
		"pending for none": func() error { _, err := Draft{}.Pend(store.Grant{ID: "g"}); return err }(),
	} {
		if !errors.Is(err, errStep) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Draft{}).Clear(store.Grant{ID: "g"}, quorum.Clearance{}); !errors.Is(err, quorum.ErrNoClearance) {
		t.Errorf("cleared by nobody: %v", err)
	}
	if _, _, err := (Opening{}).Intend(quorum.Clearance{}); !errors.Is(err, quorum.ErrNoClearance) {
		t.Errorf("intended by nobody: %v", err)
	}
	waits := store.Grant{ID: "g", State: store.GrantPending, Needs: []policy.Need{{Group: "sre", Approvals: 1}}}
	if _, err := ClearByVotes(Approver{}, waits, quorum.Tally{}, now); !errors.Is(err, quorum.ErrNeeded) {
		t.Errorf("cleared without votes: %v", err)
	}
}

// An operator's order keeps the key that it was kept under before.
func TestFreezeKeepsItsKey(t *testing.T) {
	const want = `broker.Freeze{Path:"spiffe://td/a", Frozen:true, KeepLive:false, Cause:"x"}`
	if got := (Freeze{Path: "spiffe://td/a", Frozen: true, Cause: "x"}).GoString(); got != want {
		t.Errorf("%s", got)
	}
}
