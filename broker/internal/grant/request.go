package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// Draft is one decided call, with what each of its records says. Only Describe makes one.
type Draft struct {
	who      Caller
	decision policy.Decision
	envelope quorum.Envelope
	record   Record
}

// Describe seals and describes a decision, which rests on what people have said. It is
// made before the transaction, as it takes its time.
func Describe(who Caller, task store.Task, d policy.Decision, said quorum.Tally, justification string) (Draft, error) {
	envelope, err := quorum.Seal(d)
	if err != nil {
		return Draft{}, err
	}
	req := d.Request()
	s := req.Scope()
	return Draft{who: who, decision: d, envelope: envelope, record: Record{
		Correlation: who.correlation, Agent: who.ID(), Delegate: who.Delegate(), Subject: task.OnBehalfOf, Task: task.ID,
		Decision: d.Outcome().String(), Reasons: d.Reasons(), Tier: req.Tier().String(), Purpose: justification, Approvals: said.Counts(),
		TierReasons: few(req.TierReasons()), PermissionsDigest: req.PermissionsDigest(),
		Scope: s.Name() + "@" + s.Version(), Params: req.Params(), TTLSeconds: int64(d.TTL().Seconds()),
		Service: string(s.Provider()) + "/" + s.Role(), Actions: req.Actions(), Resources: req.Resources(), Outlives: few(s.Outlives()),
	}}, nil
}

// Decision is what was decided.
func (d Draft) Decision() policy.Decision { return d.decision }

// Envelope is the decision's.
func (d Draft) Envelope() quorum.Envelope { return d.envelope }

// Grant is a new grant, before Clear, Deny or Pend.
func (d Draft) Grant(now time.Time) store.Grant {
	req, ttl := d.decision.Request(), d.decision.TTL()
	return store.Grant{
		ID: NewID("grant", now), TaskID: d.record.Task, Agent: d.who.ID(), Digest: d.envelope.Digest(), // refused ones have one too: it is what was refused
		Scope: req.Scope().Name(), ScopeVersion: req.Scope().Version(), Params: req.Params(), Tier: req.Tier().String(),
		TierReasons: d.record.TierReasons, PermissionsDigest: d.record.PermissionsDigest,
		Delegate: d.who.Delegate(), Reasons: d.decision.Reasons(), TTL: ttl, RequestedAt: now, ExpiresAt: now.Add(ttl),
	}
}

// Asked is g as people are to be asked for it, within wait. subject is the guard's name for its agent.
func (d Draft) Asked(g store.Grant, needs []policy.Need, wait time.Duration, subject string) store.Grant {
	g.Needs = needs
	g.Case = &store.Case{
		Envelope: d.envelope.Text(), Nonce: evidence.NewNonce(), Justification: d.record.Purpose,
		Identity: quorum.IdentityOf(d.decision), Claim: d.decision.Task().OnBehalfOf, Lapses: g.RequestedAt.Add(wait).UTC().Truncate(time.Second),
		Subject: subject,
	}
	return g
}

// of is the record of one event in the life of g.
func (d Draft) of(kind string, g store.Grant) Record {
	r := d.record
	r.Type, r.Grant, r.EnvelopeDigest = kind, g.ID, g.Digest
	return r
}

// Clear begins the life of a grant that was cleared at once.
func (d Draft) Clear(g store.Grant, c quorum.Clearance) (Change, error) {
	if !c.Valid() || c.Digest() != g.Digest {
		return Change{}, quorum.ErrNoClearance
	}
	err := step(&g.State, store.GrantCleared, grantSteps)
	return Change{d.of(GrantCleared, g), Rows{Grant: &g}}, err
}

// Pend has an Asked grant wait for people.
func (d Draft) Pend(g store.Grant) (Change, error) {
	if g.Case == nil {
		return Change{}, fmt.Errorf("%w: nobody is asked", errStep)
	}
	err := step(&g.State, store.GrantPending, grantSteps)
	g.ExpiresAt = g.Case.Lapses
	r := d.of(GrantPending, g)
	r.Needs, r.Envelope, r.NotAfter = needsOut(g.Needs), json.RawMessage(g.Case.Envelope), &g.ExpiresAt
	return Change{r, Rows{Grant: &g}}, err
}

// Deny ends a grant before it begins. reason is what the caller is told.
func (d Draft) Deny(g store.Grant, refusal error, reason string) (Change, error) {
	err := step(&g.State, store.GrantDenied, grantSteps)
	g.ExpiresAt, g.EndedAt, g.Frozen = g.RequestedAt, g.RequestedAt, errors.Is(refusal, guard.ErrFrozen)
	r := d.of(GrantDenied, g)
	r.Reason = reason
	var needed *quorum.NeededError
	switch {
	case errors.As(refusal, &needed):
		r.Type, g.Needs = GrantNeedsApproval, needed.Needs
		r.Needs = needsOut(g.Needs)
	case errors.Is(refusal, ErrRejected):
		g.Refusal = store.RefusedRejected
	case errors.Is(refusal, ErrTooManyPending):
		g.Refusal = store.RefusedTooMany
	}
	return Change{r, Rows{Grant: &g}}, err
}

// RefuseMinting records that g was not minted from. It changes no row.
func (d Draft) RefuseMinting(g store.Grant, reason string) Change {
	r := d.of(IssuanceRefused, g)
	r.Reason = reason
	return Change{record: r}
}

// RefuseMinting is Draft's, where it was not decided again.
func RefuseMinting(who Caller, g store.Grant, reason string) Change {
	r := about(IssuanceRefused, g)
	r.Correlation, r.Delegate, r.Reason = who.correlation, who.Delegate(), reason
	return Change{record: r}
}

// about is what each record of g says that is not of a decision.
func about(kind string, g store.Grant) Record {
	return Record{
		Type: kind, Agent: g.Agent, Task: g.TaskID, Grant: g.ID, EnvelopeDigest: g.Digest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion,
	}
}

func needsOut(needs []policy.Need) map[string]int {
	out := map[string]int{}
	for _, n := range needs {
		out[n.Group] = n.Approvals
	}
	return out
}

const (
	maxTierReasons     = 5
	maxTierReasonBytes = 200
)

// few keeps a record small: the first reasons, each cut, and how many more there are. A scope can have one for each of
// its actions, and they are known from its version.
func few(reasons []string) []string {
	more := len(reasons) - maxTierReasons
	if more > 0 {
		reasons = reasons[:maxTierReasons]
	}
	out := make([]string, 0, len(reasons)+1)
	for _, r := range reasons {
		if len(r) > maxTierReasonBytes {
			r = strings.ToValidUTF8(r[:maxTierReasonBytes], "") + "..."
		}
		out = append(out, r)
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}
