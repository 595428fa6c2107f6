// Package guard is step 4 of 9: it admits a decision, or holds it back because
// of what has happened, not because of what was asked.
//
// Laws:
//   - State is in the store, in the caller's transaction: a restart forgets
//     nothing, and two replicas share one budget. Only calls as such are counted in
//     memory: see Call.
//   - A frozen agent gets nothing, whatever policy says.
//   - Limits are keyed on stable names, never on a session: see Key.
//   - It is asked at request, and again at every mint.
package guard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/policy"
)

var (
	// ErrFrozen means that an operator stopped this agent.
	ErrFrozen = errors.New("agent frozen")
	// ErrRateLimited means that the agent asks too often; see RateError.
	ErrRateLimited = errors.New("rate limited")
	// ErrNoAdmission is returned for a zero Decision or Admission.
	ErrNoAdmission = errors.New("no admission")
)

// RateError is an ErrRateLimited that says how long to wait.
type RateError struct{ Wait time.Duration }

func (e *RateError) Error() string { return fmt.Sprintf("rate limited: try again in %v", e.Wait) }

// Unwrap makes it an ErrRateLimited.
func (e *RateError) Unwrap() error { return ErrRateLimited }

// Tx is what the guard needs of a transaction.
type Tx interface {
	Frozen(agent string) (cause string, frozen bool, err error)
	Bucket(key string) (full time.Time, err error)
	PutBucket(key string, full time.Time) error
	Now() time.Time
}

// Config configures New.
type Config struct {
	// RatePerMinute is how many requests an agent may make in the long run;
	// 60 when zero.
	RatePerMinute int
	// Burst is how many it may make at once; 20 when zero.
	Burst int
	// DelegateRatePerMinute and DelegateBurst are one delegate's, over all agents
	// that it speaks for, who keep their own; ten times the agents' when zero.
	DelegateRatePerMinute, DelegateBurst int
	// CallsPerMinute and CallBurst are one agent's calls of any kind; ten times
	// RatePerMinute and Burst when zero. A delegate has as many times those as it has
	// of the others.
	CallsPerMinute, CallBurst int
	// RateBy names the template attributes that limits are keyed on; all but
	// "session" when empty.
	RateBy []string
}

// Guard holds the limits. It is safe for concurrent use.
type Guard struct {
	interval time.Duration
	burst    int
	rateBy   []string

	delegateInterval time.Duration
	delegateBurst    int

	callInterval, delegateCallInterval time.Duration
	callBurst, delegateCallBurst       int
	calls                              calls
}

const (
	maxRate = 6_000_000
	// callFactor is how many calls there are for each token of Throttle's.
	callFactor = 10
)

// New validates cfg.
func New(cfg Config) (*Guard, error) {
	for _, c := range []struct{ rate, burst int }{{cfg.RatePerMinute, cfg.Burst}, {cfg.DelegateRatePerMinute, cfg.DelegateBurst}, {cfg.CallsPerMinute, cfg.CallBurst}} {
		if c.rate < 0 || c.burst < 0 || c.rate > maxRate {
			return nil, fmt.Errorf("guard: rate_per_minute %d and burst %d must be 0 or more, at most 6,000,000 a minute", c.rate, c.burst)
		}
	}
	if cfg.RatePerMinute == 0 {
		cfg.RatePerMinute = 60
	}
	if cfg.Burst == 0 {
		cfg.Burst = 20
	}
	if cfg.DelegateRatePerMinute == 0 {
		cfg.DelegateRatePerMinute = min(10*cfg.RatePerMinute, maxRate)
	}
	if cfg.DelegateBurst == 0 {
		cfg.DelegateBurst = 10 * cfg.Burst
	}
	if cfg.CallsPerMinute == 0 {
		cfg.CallsPerMinute = min(callFactor*cfg.RatePerMinute, maxRate)
	}
	if cfg.CallBurst == 0 {
		cfg.CallBurst = callFactor * cfg.Burst
	}
	return &Guard{
		callInterval: time.Minute / time.Duration(cfg.CallsPerMinute), callBurst: cfg.CallBurst,
		delegateCallInterval: time.Minute / time.Duration(min(callFactor*cfg.CallsPerMinute, maxRate)), delegateCallBurst: callFactor * cfg.CallBurst,
		interval: time.Minute / time.Duration(cfg.RatePerMinute), burst: cfg.Burst, rateBy: slices.Clone(cfg.RateBy),
		delegateInterval: time.Minute / time.Duration(cfg.DelegateRatePerMinute), delegateBurst: cfg.DelegateBurst,
	}, nil
}

// Throttle takes one token of those that the agent shares with all of its Key, and
// one of the delegate's that speaks for it, if one does. It is asked before
// anything is recorded, so that a flood cannot fill the ledger.
func (g *Guard) Throttle(tx Tx, a identity.Agent) error {
	if d := a.Delegate(); !d.IsZero() {
		wait, err := takeToken(tx, "delegate:"+d.String(), g.delegateInterval, g.delegateBurst)
		if err != nil {
			return err
		}
		if wait > 0 {
			return &RateError{Wait: wait}
		}
	}
	wait, err := takeToken(tx, "agent:"+g.Subject(a), g.interval, g.burst)
	if err != nil {
		return err
	}
	if wait > 0 {
		return &RateError{Wait: wait}
	}
	return nil
}

// Admission is evidence that the guard let a decision pass.
type Admission struct{ decision policy.Decision }

// Valid is false for the zero value.
func (a Admission) Valid() bool { return a.decision.Valid() }

// Decision is what was admitted.
func (a Admission) Decision() policy.Decision { return a.decision }

// Admit passes d unless its agent, or who speaks for it, is frozen.
func (g *Guard) Admit(tx Tx, d policy.Decision) (Admission, error) {
	if !d.Valid() {
		return Admission{}, ErrNoAdmission
	}
	if err := FrozenAgent(tx, d.Agent()); err != nil {
		return Admission{}, err
	}
	return Admission{decision: d}, nil
}

// Freezes is what Frozen needs of a transaction.
type Freezes interface {
	Frozen(agent string) (cause string, frozen bool, err error)
}

// FrozenAgent is Frozen of an agent, and of the delegate that speaks for it.
func FrozenAgent(tx Freezes, a identity.Agent) error {
	if d := a.Delegate(); !d.IsZero() {
		if err := Frozen(tx, d.String()); err != nil {
			return err
		}
	}
	return Frozen(tx, a.ID().String())
}

// Frozen returns ErrFrozen where agent, or any path above it, is frozen: a
// freeze of spiffe://td/agent/alice holds for every session of alice's, so that
// a new session is no way round it.
func Frozen(tx Freezes, agent string) error {
	for id := agent; strings.HasPrefix(id, "spiffe://"); {
		switch _, frozen, err := tx.Frozen(id); {
		case err != nil:
			return err
		case frozen:
			return ErrFrozen
		}
		cut := strings.LastIndexByte(id, '/')
		if cut < len("spiffe://") {
			return nil
		}
		id = id[:cut]
	}
	return nil
}
