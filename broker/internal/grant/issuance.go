package grant

import (
	"encoding/json"
	"time"

	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// Opening is an issuance of a grant, from the intent to its outcome. Only Draft.Open
// makes one.
type Opening struct {
	record   Record
	issuance store.Issuance
	// grant is what changes with the intent; nil for nothing.
	grant *store.Grant
	// digest is what the grant's clearance is of.
	digest string
}

// Open begins an issuance of a live grant.
func (d Draft) Open(g store.Grant, now time.Time) Opening {
	o := Opening{
		record: d.of(IssuanceIntended, g), digest: g.Digest,
		issuance: store.Issuance{ID: NewID("iss", now), GrantID: g.ID, Agent: d.who.ID(), NotAfter: g.ExpiresAt, At: now},
	}
	// A grant that was made while the clock was ahead ends too late. It, and each of
	// its credentials, lives no longer than what was approved all the same.
	if latest := now.Add(g.TTL); latest.Before(g.ExpiresAt) {
		o.issuance.NotAfter, g.ExpiresAt = latest, latest
		o.grant = &g
	}
	return o
}

// Issuance is the issuance as it was opened.
func (o Opening) Issuance() store.Issuance { return o.issuance }

// Session is the upstream session's name.
func (o Opening) Session() string { return o.record.Session }

// Named is o with the name of the session that will exist, and what to revoke it by.
func (o Opening) Named(session string, handle json.RawMessage) Opening {
	o.record.Session, o.issuance.Handle = session, handle
	return o
}

// Intend writes down what will be minted, and the work that ends it: what cannot be
// revoked is not minted.
func (o Opening) Intend(c quorum.Clearance) (Opening, Change, error) {
	if !c.Valid() || c.Digest() != o.digest {
		return o, Change{}, quorum.ErrNoClearance
	}
	err := step(&o.issuance.State, store.IssuanceIntended, issuanceSteps)
	iss, now := o.issuance, o.issuance.At
	o.record.Issuance, o.record.NotAfter = iss.ID, &iss.NotAfter
	held := store.Work{ID: iss.ID, GrantID: iss.GrantID, Agent: iss.Agent, Handle: iss.Handle, Held: true, CreatedAt: now, NextAt: now}
	return o, Change{o.record, Rows{Issuance: &iss, Grant: o.grant, Work: []store.Work{held}}}, err
}

// Found is what became known of a credential: no secret is in it.
type Found struct {
	AccessKeyID, VaultAccessor, VaultLease string
	// NotAfter is its end; nil where that is not known.
	NotAfter *time.Time
	Handle   json.RawMessage
}

// Closing is an issuance whose outcome is known.
type Closing struct {
	record   Record
	issuance store.Issuance
	now      time.Time
}

// Close ends the issuance that now has a state. found is nil for a credential of which
// nothing became known.
func (o Opening) Close(now time.Time, state store.IssuanceState, found *Found) Closing {
	c := Closing{o.record, o.issuance, now}
	c.issuance.State = state
	if found != nil {
		c.issuance.Handle = found.Handle
		c.record.NotAfter, c.record.AccessKeyID = found.NotAfter, found.AccessKeyID
		c.record.VaultAccessor, c.record.VaultLease = found.VaultAccessor, found.VaultLease
	}
	return c
}

func (c Closing) change(kind, reason string, to store.IssuanceState, work ...store.Work) (Change, error) {
	err := step(&c.issuance.State, to, issuanceSteps)
	c.record.Type, c.record.Reason = kind, reason
	return Change{c.record, Rows{Issuance: &c.issuance, Work: work}}, err
}

// Issued makes the credential g's, and g active: its row is not written for that, since the
// issuance says it.
func (c Closing) Issued(g store.Grant) (Change, store.Grant, error) {
	if err := step(&g.State, store.GrantActive, grantSteps); err != nil {
		return Change{}, g, err
	}
	out, err := c.change(IssuanceIssued, "", store.IssuanceIssued)
	return out, g, err
}

// Abandoned is of what was certainly never minted.
func (c Closing) Abandoned(reason string) (Change, error) {
	never := toRevoke(c.issuance, "", c.now)
	never.DoneAt, never.Outcome = c.now, "never_minted"
	return c.change(IssuanceFailed, reason, store.IssuanceAbandoned, never)
}

// Failed is of what may exist all the same, and is revoked.
func (c Closing) Failed(reason string) (Change, error) {
	return c.change(IssuanceFailed, reason, store.IssuanceOrphaned, toRevoke(c.issuance, "the minting failed and may have left a credential", c.now))
}

// Orphaned is of what may not be delivered any more, and is revoked.
func (c Closing) Orphaned(reason, cause string) (Change, error) {
	return c.change(IssuanceOrphaned, reason, store.IssuanceOrphaned, toRevoke(c.issuance, cause, c.now))
}

// Orphan closes an issuance whose outcome nobody will write any more, or that was not
// delivered, and revokes what it may have left.
func Orphan(iss store.Issuance, cause string, now time.Time) (Change, error) {
	err := step(&iss.State, store.IssuanceOrphaned, issuanceSteps)
	return Change{
		Record{Type: IssuanceOrphaned, Agent: iss.Agent, Grant: iss.GrantID, Issuance: iss.ID, NotAfter: &iss.NotAfter, Cause: cause},
		Rows{Issuance: &iss, Work: []store.Work{toRevoke(iss, cause, now)}},
	}, err
}

// toRevoke is the end of iss's credential, to be carried upstream from now on.
func toRevoke(iss store.Issuance, cause string, now time.Time) store.Work {
	return store.Work{ID: iss.ID, GrantID: iss.GrantID, Agent: iss.Agent, Cause: cause, Handle: iss.Handle, CreatedAt: now, NextAt: now}
}

// Revoked records how the upstream answered to w, after so long. found is what ended.
func Revoked(w store.Work, found Found, session, outcome string, took time.Duration, now time.Time) Change {
	w.DoneAt, w.Outcome = now, outcome
	return Change{
		Record{
			Type: RevocationConcluded, Agent: w.Agent, Grant: w.GrantID, Issuance: w.ID, Cause: w.Cause,
			AccessKeyID: found.AccessKeyID, VaultAccessor: found.VaultAccessor, VaultLease: found.VaultLease, Session: session,
			NotAfter: found.NotAfter, Outcome: outcome, LatencyMS: took.Milliseconds(),
		},
		Rows{Work: []store.Work{w}},
	}
}
