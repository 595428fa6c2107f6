package broker

import (
	"context"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/approval/evidence"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/store"
)

// Vote takes an approver's signed decision. One no ends the request; a yes clears
// it where it is the last that was needed. The vote is on the record, whole, with
// what comes of it. Sent again it is one vote; a no after a yes is a no.
func (b *Broker) Vote(ctx context.Context, who Caller, id string, statement []byte, signature string) (p Pending, err error) {
	_, err = b.ledger.Commit(ctx, func(t *ledger.Tx) error {
		g, err := b.decidable(t.Tx, who, id)
		if err != nil {
			return err
		}
		v, err := b.cfg.Board.Judge(caseOf(g), who.id(), statement, signature)
		if err != nil {
			return err
		}
		again, err := voted(t, id, v)
		switch {
		case err != nil:
			return err
		case !again && (g.State != store.GrantPending || !t.Now().Before(g.ExpiresAt)):
			return ErrSettled
		case !again:
			if err := b.take(t, who, &g, v); err != nil {
				return err
			}
		}
		p, err = b.pending(t.Tx, who, g)
		return err
	})
	if err == nil {
		b.watches.announce(id)
	}
	return p, err
}

// voted says whether the same person has said the same before.
func voted(t *ledger.Tx, grant string, v approval.Vote) (bool, error) {
	kept, err := t.Approvals(grant)
	for _, k := range kept {
		if k.Person == v.Person && k.Decision == string(v.Decision) {
			return true, nil
		}
	}
	return false, err
}

// take keeps a vote and does what follows of it.
func (b *Broker) take(t *ledger.Tx, who Caller, g *store.Grant, v approval.Vote) error {
	if err := t.PutApproval(store.Approval{
		GrantID: g.ID, Person: v.Person, Decision: string(v.Decision), Comment: v.Comment,
		Statement: string(v.Statement), Signature: v.Signature, At: t.Now(),
	}); err != nil {
		return err
	}
	r := ledger.Record{
		Type: ledger.ApprovalGiven, Correlation: who.Correlation, Agent: g.Agent, Task: g.TaskID, Grant: g.ID,
		EnvelopeDigest: g.Digest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion, Decision: string(v.Decision),
		Approver: v.Person, ApproverID: who.id(), ApprovalStatement: string(v.Statement), ApprovalSignature: v.Signature,
	}
	if v.Decision == evidence.Reject {
		r.Type = ledger.ApprovalRefused
	}
	if _, err := t.Record(r); err != nil {
		return err
	}
	if v.Decision == evidence.Reject {
		return b.end(t, g, ending{
			state: store.GrantRejected, grantType: ledger.GrantRejected, cause: "rejected by " + v.Person, correlation: who.Correlation,
		})
	}
	tally, err := b.count(t.Tx, *g)
	if err != nil || len(approval.Lacking(needsOf(*g), tally)) > 0 {
		return err
	}
	// The life that was approved begins now. Minting decides again.
	g.State, g.ExpiresAt = store.GrantCleared, t.Now().Add(g.TTL)
	if err := t.PutGrant(*g); err != nil {
		return err
	}
	_, err = t.Record(ledger.Record{
		Type: ledger.GrantCleared, Correlation: who.Correlation, Agent: g.Agent, Task: g.TaskID, Grant: g.ID,
		EnvelopeDigest: g.Digest, PermissionsDigest: g.PermissionsDigest, Tier: g.Tier, Scope: g.Scope + "@" + g.ScopeVersion,
		Params: g.Params, TTLSeconds: int64(g.TTL.Seconds()), Approvals: tally.Counts(), NotAfter: &g.ExpiresAt,
	})
	return err
}
