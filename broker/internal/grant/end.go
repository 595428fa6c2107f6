package grant

import (
	"time"

	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// End says how, why and by whom grants and tasks end. The functions here make one.
type End struct {
	state                        store.GrantState
	grantType, taskType          string
	cause, operator, correlation string
	// delegate spoke for the agent that ends it; empty for nobody.
	delegate string
	// cooling stops the same from being asked again; nil for nothing.
	cooling *store.Cooling
}

// ByAgent is the agent's own end of its grant or task.
func ByAgent(who Caller, cause string) End {
	return End{
		state: store.GrantReleased, grantType: GrantReleased, taskType: TaskClosed,
		cause: cause, delegate: who.Delegate(), correlation: who.correlation,
	}
}

// ByOperator is an operator's.
func ByOperator(op Operator, cause string) End {
	return End{
		state: store.GrantRevoked, grantType: GrantRevoked, taskType: TaskRevoked,
		cause: cause, operator: op.ID(), correlation: op.correlation,
	}
}

// BySweep is that of what an operator's order names.
func BySweep(s store.Sweep) End {
	return End{state: store.GrantRevoked, grantType: GrantRevoked, cause: s.Cause, operator: s.Operator, correlation: s.Correlation}
}

// ByApprover is a person's no. cooling is nil for none.
func ByApprover(who Approver, person string, cooling *store.Cooling) End {
	return End{
		state: store.GrantRejected, grantType: GrantRejected, cause: "rejected by " + person, correlation: who.correlation, cooling: cooling,
	}
}

// As is e for another grant that is as the first, which is of id.
func (e End) As(id string) End {
	e.cooling, e.cause = nil, e.cause+", as "+id
	return e
}

// ByTime is that of a grant whose time is over.
func ByTime(g store.Grant) End {
	if g.State == store.GrantPending {
		return End{state: store.GrantLapsed, grantType: GrantLapsed, cause: "not approved in time"}
	}
	return End{state: store.GrantExpired, grantType: GrantExpired, cause: "expired"}
}

// Urgent says that an operator ends it.
func (e End) Urgent() bool { return e.operator != "" }

// Grant ends an open grant, and has the credentials that it issued revoked.
func (e End) Grant(g store.Grant, issued []store.Issuance, now time.Time) (Change, error) {
	err := step(&g.State, e.state, grantSteps)
	g.EndedAt = now
	r := about(e.grantType, g)
	r.Correlation, r.Delegate, r.Operator, r.Cause = e.correlation, e.delegate, e.operator, e.cause
	c := Change{r, Rows{Grant: &g, Cooling: e.cooling}}
	for _, iss := range issued {
		w := toRevoke(iss, e.cause, now)
		w.Urgent = e.Urgent()
		c.rows.Work = append(c.rows.Work, w)
	}
	return c, err
}

// Credential has one credential of a grant revoked that cannot be ended itself: another row that
// its end takes is damaged. iss is as it is stored, and issued or intended.
func (e End) Credential(iss store.Issuance, now time.Time) (Change, error) {
	c, err := Orphan(iss, e.cause, now)
	return e.apart(c), err
}

// Held is Credential where the issuance cannot be read, by what was kept to end it by.
func (e End) Held(w store.Work, now time.Time) Change {
	w.Held, w.Cause, w.NextAt = false, e.cause, now
	return e.apart(Change{
		Record{Type: IssuanceOrphaned, Agent: w.Agent, Grant: w.GrantID, Issuance: w.ID, Cause: e.cause}, Rows{Work: []store.Work{w}},
	})
}

// apart says in c by whom, and why not with its grant.
func (e End) apart(c Change) Change {
	c.record.Correlation, c.record.Delegate, c.record.Operator = e.correlation, e.delegate, e.operator
	c.record.Cause += "; its grant cannot be ended, since the store is damaged"
	for i := range c.rows.Work {
		c.rows.Work[i].Urgent = e.Urgent()
	}
	return c
}

// Task closes an open task. Its grants end one by one.
func (e End) Task(t store.Task, now time.Time) (store.Task, Change) {
	t.ClosedAt = now
	return t, Change{
		Record{Type: e.taskType, Correlation: e.correlation, Agent: t.Agent, Delegate: e.delegate, Operator: e.operator, Task: t.ID, Cause: e.cause},
		Rows{Task: &t},
	}
}

// NewTask is what an agent says of a task it opens.
type NewTask struct{ Key, Purpose, Environment, OnBehalfOf string }

// Open opens a task.
func (n NewTask) Open(who Caller, now time.Time) (store.Task, Change) {
	t := store.Task{
		ID: NewID("task", now), Agent: who.ID(), Purpose: n.Purpose, Environment: n.Environment, OnBehalfOf: n.OnBehalfOf, OpenedAt: now,
	}
	return t, Change{
		Record{Type: TaskOpened, Correlation: who.correlation, Agent: t.Agent, Delegate: who.Delegate(), Subject: t.OnBehalfOf, Task: t.ID, Purpose: t.Purpose},
		Rows{Task: &t},
	}
}

// Voted keeps a person's vote on g. What follows of it is a change of its own.
func Voted(who Approver, g store.Grant, v quorum.Vote, now time.Time) Change {
	r := about(ApprovalGiven, g)
	if v.Rejects() {
		r.Type = ApprovalRefused
	}
	r.Correlation, r.Decision, r.Approver, r.ApproverID = who.correlation, string(v.Decision), v.Person, who.ID()
	r.ApprovalStatement, r.ApprovalSignature = string(v.Statement), v.Signature
	return Change{r, Rows{Approval: &store.Approval{
		GrantID: g.ID, Person: v.Person, Decision: string(v.Decision), Comment: v.Comment,
		Statement: string(v.Statement), Signature: v.Signature, At: now,
	}}}
}

// ClearByVotes begins the life that people approved. Minting decides again.
func ClearByVotes(who Approver, g store.Grant, t quorum.Tally, now time.Time) (Change, error) {
	if lacks := quorum.Lacking(g.Needs, t); len(lacks) > 0 {
		return Change{}, &quorum.NeededError{Needs: lacks}
	}
	err := step(&g.State, store.GrantCleared, grantSteps)
	g.ExpiresAt = now.Add(g.TTL)
	r := about(GrantCleared, g)
	r.Correlation, r.PermissionsDigest, r.Params, r.TTLSeconds = who.correlation, g.PermissionsDigest, g.Params, int64(g.TTL.Seconds())
	r.Approvals, r.NotAfter = t.Counts(), &g.ExpiresAt
	return Change{r, Rows{Grant: &g}}, err
}
