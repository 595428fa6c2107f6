package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/broker/approval"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/store"
)

// passage is one call's way through steps 4 to 6, in one transaction.
type passage struct {
	tx     *ledger.Tx
	who    Caller
	record ledger.Record
	// tally is of the approvals that the call's decision rests on; zero for none.
	tally approval.Tally

	grant  store.Grant
	intent ledger.Intent
	// refusal is on the record, so the transaction that holds it succeeds.
	refusal error
}

// grant records a decided request, and with Mint the intent to mint from it.
func (b *Broker) grant(p *passage, d policy.Decision, ask Ask) error {
	content := ask.content()
	repeat, err := p.repeated(ask.Key, content)
	if err != nil {
		return err
	}
	if repeat != "" {
		return p.answerRepeat(p.tx.Tx, repeat, ask.Mint)
	}
	if err := p.openTask(ask.TaskID); err != nil {
		return err
	}
	if err := b.cfg.Guard.Throttle(p.tx, p.who.Agent); err != nil {
		return err
	}
	clearance, refusal := b.pass(p.tx, d, p.tally)
	if refusal != nil && !isRefusal(refusal) {
		return refusal
	}
	digest := clearance.Digest()
	if refusal != nil {
		// Refused requests have an envelope too: it is what was refused.
		if digest, err = approval.Digest(d); err != nil {
			return err
		}
	}
	req, now := d.Request(), p.tx.Now()
	p.grant = store.Grant{
		ID: newID("grant", now), TaskID: ask.TaskID, Agent: p.who.id(), Digest: digest,
		Scope: req.Scope().Name(), ScopeVersion: req.Scope().Version(), Params: req.Params(), Tier: req.Tier().String(),
		TierReasons: p.record.TierReasons, PermissionsDigest: p.record.PermissionsDigest,
		State: store.GrantCleared, Reasons: d.Reasons(), TTL: d.TTL(), RequestedAt: now, ExpiresAt: now.Add(d.TTL()),
	}
	p.record.Type, p.record.Grant, p.record.EnvelopeDigest = ledger.GrantCleared, p.grant.ID, digest
	if refusal != nil {
		var known string
		if known, refusal, err = b.hold(p, d, ask, refusal); err != nil {
			return err
		}
		if known != "" {
			return p.remember(ask.Key, content, known)
		}
	}
	if refusal != nil {
		p.refuse(refusal, b.cfg.Reason(refusal))
	}
	if err := p.tx.PutGrant(p.grant); err != nil {
		return err
	}
	if err := p.remember(ask.Key, content, p.grant.ID); err != nil {
		return err
	}
	if _, err := p.tx.Record(p.record); err != nil {
		return err
	}
	if p.grant.State != store.GrantCleared || !ask.Mint {
		return nil
	}
	return p.intend(clearance)
}

// mintAgain passes a live grant through the guard again and intends a minting.
func (b *Broker) mintAgain(p *passage, d policy.Decision, key, grantID string) error {
	content := contentOf("mint", grantID)
	switch repeat, err := p.repeated(key, content); {
	case err != nil:
		return err
	case repeat != "":
		return ErrAlreadyIssued
	}
	g, err := p.tx.Grant(grantID)
	if err != nil {
		return err
	}
	if !g.State.Live() || !p.tx.Now().Before(g.ExpiresAt) {
		return ErrGrantEnded
	}
	if err := p.openTask(g.TaskID); err != nil {
		return err
	}
	if err := b.cfg.Guard.Throttle(p.tx, p.who.Agent); err != nil {
		return err
	}
	p.grant = g
	p.record.Grant, p.record.EnvelopeDigest = g.ID, g.Digest
	clearance, refusal := b.pass(p.tx, d, p.tally)
	if refusal == nil {
		refusal = b.stillApproved(p.tx.Tx, g, asking(p.who)...) // somebody may have been frozen since they were counted
	}
	if refusal == nil && clearance.Digest() != g.Digest {
		refusal = fmt.Errorf("%w: what policy allows has changed since the grant was asked for", approval.ErrDenied)
	}
	if refusal != nil {
		if !isRefusal(refusal) {
			return refusal
		}
		p.refusal, p.record.Type, p.record.Reason = refusal, ledger.IssuanceRefused, b.cfg.Reason(refusal)
		_, err := p.tx.Record(p.record)
		return err
	}
	if err := p.remember(key, content, g.ID); err != nil {
		return err
	}
	return p.intend(clearance)
}

func (p *passage) intend(c approval.Clearance) (err error) {
	scope, now := c.Decision().Request().Scope(), p.tx.Now()
	iss := store.Issuance{ID: newID("iss", now), GrantID: p.grant.ID, Agent: p.who.id(), NotAfter: p.grant.ExpiresAt}
	// A grant that was made while the clock was ahead ends too late. It, and each of
	// its credentials, lives no longer than what was approved all the same.
	if latest := now.Add(p.grant.TTL); latest.Before(p.grant.ExpiresAt) {
		iss.NotAfter, p.grant.ExpiresAt = latest, latest
		if err := p.tx.PutGrant(p.grant); err != nil {
			return err
		}
	}
	session := mint.NewSessionName()
	// The handle of what will exist, so that a crash leaves a name to revoke by.
	order := mint.Order{GrantID: iss.GrantID, IssuanceID: iss.ID, SessionName: session, Role: scope.Role(), NotAfter: iss.NotAfter}
	if iss.Handle, err = json.Marshal(order.Handle(string(scope.Provider()))); err != nil {
		return err
	}
	p.intent, err = p.tx.Intend(c, iss, session, p.record)
	return err
}

// refuse turns the grant and its record into those of a refusal.
func (p *passage) refuse(err error, reason string) {
	p.refusal, p.grant.Frozen = err, errors.Is(err, guard.ErrFrozen)
	p.grant.State, p.grant.ExpiresAt, p.grant.EndedAt = store.GrantDenied, p.grant.RequestedAt, p.grant.RequestedAt
	p.record.Type, p.record.Reason = ledger.GrantDenied, reason
	var needed *approval.NeededError
	if errors.As(err, &needed) {
		p.record.Type = ledger.GrantNeedsApproval
		p.need(needed.Needs)
	}
}

// need writes down what people would have to say.
func (p *passage) need(needs []policy.Need) {
	p.record.Needs, p.grant.Needs = map[string]int{}, nil
	for _, n := range needs {
		p.record.Needs[n.Group] = n.Approvals
		p.grant.Needs = append(p.grant.Needs, store.Need{Group: n.Group, Approvals: n.Approvals})
	}
}

// answerRepeat gives a repeated request the answer the first one got.
func (p *passage) answerRepeat(r store.Reader, grantID string, minted bool) (err error) {
	if p.grant, err = r.Grant(grantID); err != nil {
		return notFound(err, ErrGrantEnded) // so long ago that it was pruned
	}
	switch {
	case p.grant.Case != nil: // people decide, and the grant says how far they are
	case len(p.grant.Needs) > 0:
		p.refusal = &approval.NeededError{Needs: needsOf(p.grant)}
	case p.grant.Frozen:
		p.refusal = guard.ErrFrozen
	case p.grant.Refusal == store.RefusedRejected:
		p.refusal = ErrRejected
	case p.grant.Refusal == store.RefusedTooMany:
		p.refusal = ErrTooManyPending
	case p.grant.State == store.GrantDenied:
		p.refusal = approval.ErrDenied
	case minted:
		p.refusal = ErrAlreadyIssued
	}
	return nil
}

// openTask checks the task again, in the transaction: it may have been closed
// since the call began.
func (p *passage) openTask(id string) error {
	t, err := p.tx.Task(id)
	if err != nil {
		return err
	}
	if !t.ClosedAt.IsZero() {
		return ErrTaskClosed
	}
	return nil
}

// isRefusal tells an answer from a fault: only answers are recorded as denials.
func isRefusal(err error) bool {
	return errors.Is(err, guard.ErrFrozen) || errors.Is(err, approval.ErrNeeded) || errors.Is(err, approval.ErrDenied) || errors.Is(err, ErrTooManyPending)
}

// describe is what every record of a decided request says.
func describe(who Caller, task store.Task, d policy.Decision) (ledger.Record, error) {
	req := d.Request()
	s := req.Scope()
	permissions, err := req.Permissions().Digest()
	if err != nil {
		return ledger.Record{}, fmt.Errorf("describing the request: %w", err)
	}
	return ledger.Record{
		Correlation: who.Correlation, Agent: who.id(), Delegate: who.delegate(), Subject: task.OnBehalfOf, Task: task.ID,
		Decision: d.Outcome().String(), Reasons: d.Reasons(), Tier: req.Tier().String(),
		TierReasons: few(req.TierReasons()), PermissionsDigest: permissions,
		Scope: s.Name() + "@" + s.Version(), Params: req.Params(), TTLSeconds: int64(d.TTL().Seconds()),
		Service: string(s.Provider()) + "/" + s.Role(), Actions: req.Actions(), Resources: req.Resources(),
	}, nil
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

// contentOf is a digest of what an idempotency key stands for.
func contentOf(parts ...any) string {
	// Go syntax: strings are quoted and maps are in the order of their keys, so
	// equal content, and only that, is equal text.
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", parts))
	return hex.EncodeToString(sum[:])
}
