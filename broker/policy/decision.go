package policy

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/scopes"
)

// ErrPolicy means that the engine could not decide, so the answer is no. Every error of Decide wraps it.
var ErrPolicy = errors.New("policy error")

// ErrLoad means that policies, their settings or their tables are not usable. Nothing was loaded.
var ErrLoad = errors.New("policies do not load")

// AnyGroup is the group that every approver is in. Its count is the number of distinct people, so it can be less
// than the sum of the other groups: one person may be in several.
const AnyGroup = "any"

// Outcome is what a decision says. Its zero value is no decision.
type Outcome int

// The outcomes.
const (
	// Allow permits the request now.
	Allow Outcome = iota + 1
	// Deny refuses it, whatever people say.
	Deny
	// NeedsApproval refuses it now, and would permit it with the approvals in Needs.
	NeedsApproval
)

// String gives the word used in tables, records and logs.
func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	case NeedsApproval:
		return "needs_approval"
	default:
		return "none"
	}
}

// Need is how many more distinct people of a group have to approve.
type Need struct {
	Group     string
	Approvals int
}

// Task is what the agent says of its task: claims. Purpose and justification are left out on purpose.
type Task struct {
	// ID names the task in the record. Policies cannot read it.
	ID string
	// Environment is where the work happens, in the caller's words; may be empty.
	Environment string
	// OnBehalfOf is who asked the agent, in the agent's words: a claim, not evidence. May be empty.
	OnBehalfOf string
}

// Input is one question.
type Input struct {
	// Agent is the caller, from step 1. The zero Agent is refused.
	Agent identity.Agent
	// Request is what is asked for, from step 2. The zero Request is refused.
	Request scopes.Request
	// Task is what it is for.
	Task Task
	// Approvals counts the distinct people of each group who said yes to this envelope; nil is none. The count
	// of AnyGroup is the number of distinct people; where it is missing, the largest group stands in for it.
	Approvals map[string]int
	// Now is the time the policies see. The zero time is refused.
	Now time.Time
	// TTL is the life asked for; 0 takes the request's own, and more than that is refused.
	TTL time.Duration
}

// Verdict is what the engine found, as plain data for tables and people. It is no evidence: no step takes it.
type Verdict struct {
	Outcome Outcome
	// PolicyIDs names the policies that made the outcome, sorted. Empty when no policy permits.
	PolicyIDs []string
	// Reasons says the same for people: "id: the policy's @reason", sorted.
	Reasons []string
	// Needs is sorted by group; empty unless the outcome is NeedsApproval.
	Needs []Need
	// TTL is the longest life that is permitted, at most the one asked for; 0 when denied.
	TTL time.Duration
}

func (v Verdict) clone() Verdict {
	v.PolicyIDs = slices.Clone(v.PolicyIDs)
	v.Reasons = slices.Clone(v.Reasons)
	v.Needs = slices.Clone(v.Needs)
	return v
}

// Decision is the evidence of step 3. Only Decide makes one; the zero Decision is not valid and every later step
// refuses it. It is immutable and safe for concurrent use.
type Decision struct {
	verdict   Verdict
	agent     identity.Agent
	request   scopes.Request
	task      Task
	approvals map[string]int
	at        time.Time
	// mark is this decision's own.
	mark *byte
}

// Same reports whether d and other are one answer of Decide. The zero Decision is the same as none.
func (d Decision) Same(other Decision) bool { return d.mark != nil && d.mark == other.mark }

// Valid reports whether Decide made d.
func (d Decision) Valid() bool { return d.verdict.Outcome != 0 }

// Outcome is what was decided; 0 for the zero Decision.
func (d Decision) Outcome() Outcome { return d.verdict.Outcome }

// Agent is who asked.
func (d Decision) Agent() identity.Agent { return d.agent }

// Request is what was asked for. Its TTL is what was wished; TTL is what is permitted.
func (d Decision) Request() scopes.Request { return d.request }

// Task is what it is for.
func (d Decision) Task() Task { return d.task }

// Approvals is a copy of the counts the decision stands on.
func (d Decision) Approvals() map[string]int { return maps.Clone(d.approvals) }

// At is the time the policies saw.
func (d Decision) At() time.Time { return d.at }

// Reasons says why, sorted: "id: the policy's @reason".
func (d Decision) Reasons() []string { return slices.Clone(d.verdict.Reasons) }

// PolicyIDs names the policies that made the outcome, sorted. Empty when no policy permits.
func (d Decision) PolicyIDs() []string { return slices.Clone(d.verdict.PolicyIDs) }

// Needs is what people would still have to say, sorted by group. Empty unless the outcome is NeedsApproval.
func (d Decision) Needs() []Need { return slices.Clone(d.verdict.Needs) }

// TTL is the longest life that is permitted, at most the one asked for; 0 when denied.
func (d Decision) TTL() time.Duration { return d.verdict.TTL }

// Verdict is the decision as plain data.
func (d Decision) Verdict() Verdict { return d.verdict.clone() }
