package grant

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

// Freeze is what an operator stops, or lets go on.
type Freeze struct {
	// Path is an agent, a delegate, an approver, or a path above such: spiffe://td/agent/alice
	// is all of alice's agents, and spiffe://td all of the trust domain.
	Path   string
	Frozen bool
	// KeepLive leaves the grants that there are alone; nothing is minted from them.
	KeepLive bool
	Cause    string
}

// GoString is what idempotency keys are kept under, and have been since before this type
// was in this package.
func (f Freeze) GoString() string {
	return fmt.Sprintf("broker.Freeze{Path:%#v, Frozen:%#v, KeepLive:%#v, Cause:%#v}", f.Path, f.Frozen, f.KeepLive, f.Cause)
}

// Order is what an operator orders. Its zero value orders nothing.
type Order struct {
	record Record
	freeze *store.Freeze
	// sweep is what is to end; nil for nothing.
	sweep *store.Sweep
}

// OrderFreeze stops or resumes minting. people are the approvers at or below f's path.
func OrderFreeze(f Freeze, people []string) Order {
	o := Order{
		record: Record{Type: AgentUnfrozen, Agent: f.Path, Cause: f.Cause},
		freeze: &store.Freeze{Agent: f.Path, Cause: f.Cause, Frozen: f.Frozen},
	}
	if f.Frozen {
		o.record.Type, o.record.KeepLive = AgentFrozen, f.KeepLive
		if !f.KeepLive {
			o.sweep = &store.Sweep{Path: store.Path{ID: f.Path, Below: true}, Cause: "frozen: " + f.Cause, People: people}
		}
	}
	return o
}

// Resumes says that the order lets something go on.
func (o Order) Resumes() bool { return o.freeze != nil && !o.freeze.Frozen }

// OrderEnds ends all grants of p's agents and delegates.
func OrderEnds(p store.Path, cause string) Order {
	return Order{record: at(p, Record{Type: RevocationOrdered, Cause: cause}), sweep: &store.Sweep{Path: p, Cause: cause}}
}

// OrderOwner ends all grants of one person's agents.
func OrderOwner(owner, cause string) Order {
	return Order{record: Record{Type: RevocationOrdered, Owner: owner, Cause: cause}, sweep: &store.Sweep{Owner: owner, Cause: cause}}
}

// Give puts the order on the record. The sweep is zero where nothing is to end.
func (o Order) Give(op Operator, now time.Time) (store.Sweep, Change) {
	r := o.record
	r.Correlation, r.Operator = op.correlation, op.ID()
	c := Change{r, Rows{Freeze: o.freeze}}
	if o.sweep == nil {
		return store.Sweep{}, c
	}
	s := *o.sweep
	s.ID, s.CreatedAt, s.Operator, s.Correlation = NewID("sweep", now), now, op.ID(), op.correlation
	c.rows.Sweep = &s
	return s, c
}

// Swept closes a sweep that has nothing left to end.
func Swept(s store.Sweep, now time.Time) (store.Sweep, Change) {
	s.DoneAt = now
	return s, Change{at(s.Path, Record{
		Type: RevocationSwept, Correlation: s.Correlation, Operator: s.Operator, Owner: s.Owner, Cause: s.Cause, Count: s.Ended,
	}), Rows{Sweep: &s}}
}

// at says in r whose grants end.
func at(p store.Path, r Record) Record {
	if r.Agent = p.ID; p.Below {
		r.Agent, r.Path = "", p.ID
	}
	return r
}
