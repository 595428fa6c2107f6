// Package issue is the path from a request to a credential: the nine steps.
//
//	step            package   refuses with
//	1 authenticate  identity  ErrUnauthenticated and its children
//	2 resolve       scopes    ErrUnknownScope, ErrStaleVersion, ErrParameter, ErrTTL, ErrTooLarge, ErrUnproven
//	3 decide        policy    ErrPolicy; a Decision that denies
//	4 admit         guard     ErrFrozen, ErrRateLimited
//	5 approve       quorum    ErrNeeded, ErrDenied
//	6 intend        ledger    store.ErrUnavailable
//	7 mint          mint      ErrUnavailable, ErrRefused, ErrInvalid, ErrLifetime
//	8 conclude      ledger    store.ErrUnavailable
//	9 deliver       server    nothing: by then all is on the record
//
// RequestGrant and MintCredential begin after step 1, and end before step 9.
//
// Laws:
//   - Each step takes the evidence of the one before it.
//   - No credential leaves before its outcome is durable; what may exist
//     upstream and was not delivered is revoked.
//   - Whatever cannot be checked is refused.
package issue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/policy"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
	"github.com/valetkey/valetkey/scopes"
)

// RequestGrant asks for a grant, and with Mint delivers its first credential.
// A refusal by policy or guard is on the record before it is returned, and
// Issued.Grant names it.
func (s *Service) RequestGrant(ctx context.Context, who grant.Caller, ask Ask) (Issued, error) {
	if err := who.Check(); err != nil {
		return Issued{}, err
	}
	key := repeats.Key{Who: who, Key: ask.Key, Content: ask.content()}
	task, err := grant.OpenTask(ctx, s.cfg.Store, who, ask.TaskID)
	if err != nil {
		return s.answerOr(ctx, key, ask.Mint, err)
	}
	d, err := s.decide(ctx, who, task, scopes.Query{Scope: ask.Scope, Version: ask.ScopeVersion, Params: ask.Params, TTL: ask.TTL}, quorum.Tally{})
	if err != nil {
		return s.answerOr(ctx, key, ask.Mint, err)
	}
	draft, err := grant.Describe(who, task, d, quorum.Tally{}, ask.Justification)
	if err != nil {
		return Issued{}, err
	}
	var p txn
	_, err = s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		p = txn{tx: t, who: who, draft: draft, key: key}
		return s.request(&p, ask.Mint)
	})
	if err != nil {
		return Issued{}, err
	}
	if p.refusal != nil || !p.intent.Valid() {
		return Issued{Grant: p.grant}, p.refusal
	}
	return s.issue(ctx, p.grant, p.intent)
}

// MintCredential mints again from a live grant. Everything is decided again,
// whatever was true when the grant was asked for.
func (s *Service) MintCredential(ctx context.Context, who grant.Caller, key, grantID string) (Issued, error) {
	g, err := grant.Own(ctx, s.cfg.Store, who, grantID)
	if err != nil {
		return Issued{}, err
	}
	tally, err := s.tally(ctx, who, g)
	if grant.IsRefusal(err) || errors.Is(err, grant.ErrLapsed) {
		err = s.refuseMinting(ctx, who, g, err)
	}
	if err != nil {
		return Issued{}, err
	}
	task, err := grant.OpenTask(ctx, s.cfg.Store, who, g.TaskID)
	if err != nil {
		return Issued{}, err
	}
	d, err := s.decide(ctx, who, task, scopes.Query{Scope: g.Scope, Version: g.ScopeVersion, Params: g.Params, TTL: g.TTL}, tally)
	if err != nil {
		return Issued{}, err
	}
	draft, err := grant.Describe(who, task, d, tally, "")
	if err != nil {
		return Issued{}, err
	}
	var p txn
	_, err = s.cfg.Ledger.Commit(ctx, func(t *ledger.Tx) error {
		p = txn{tx: t, who: who, draft: draft, tally: tally, key: repeats.Key{Who: who, Key: key, Content: grant.Content("mint", grantID)}}
		return s.mintAgain(&p, grantID)
	})
	if err != nil {
		return Issued{}, err
	}
	if p.refusal != nil {
		return Issued{Grant: p.grant}, p.refusal
	}
	return s.issue(ctx, p.grant, p.intent)
}

// decide is steps 2 and 3, with what people have said.
func (s *Service) decide(ctx context.Context, who grant.Caller, task store.Task, q scopes.Query, said quorum.Tally) (policy.Decision, error) {
	rules := s.cfg.Rules.Now()
	req, err := rules.Catalog.Resolve(q)
	if err != nil {
		return policy.Decision{}, err
	}
	return rules.Policy.Decide(ctx, policy.Input{
		Agent: who.Agent(), Request: req, Now: s.cfg.Now(), TTL: req.TTL(),
		Task: policy.Task{ID: task.ID, Environment: task.Environment, OnBehalfOf: task.OnBehalfOf}, Approvals: said.Counts(),
	})
}

// pass is steps 4 and 5, for a token. The task may have been closed since the call began.
func (s *Service) pass(p *txn, taskID string) (_ quorum.Clearance, refusal, err error) {
	task, err := p.tx.Task(taskID)
	if err != nil {
		return quorum.Clearance{}, nil, err
	}
	if !task.ClosedAt.IsZero() {
		return quorum.Clearance{}, nil, grant.ErrTaskClosed
	}
	if err := s.cfg.Guard.Throttle(p.tx, p.who.Agent()); err != nil {
		return quorum.Clearance{}, nil, err
	}
	var c quorum.Clearance
	admission, err := s.cfg.Guard.Admit(p.tx, p.draft.Decision())
	if err == nil {
		c, err = quorum.Clear(admission, p.draft.Envelope(), p.tally)
	}
	if grant.IsRefusal(err) {
		return c, err, nil
	}
	return c, nil, err
}

// intend is step 6. The call's key remembers what it made.
func (s *Service) intend(p *txn, c quorum.Clearance) error {
	now, req := p.tx.Now(), c.Decision().Request()
	o := p.draft.Open(p.grant, now)
	iss, session := o.Issuance(), s.cfg.Names.New(s.cfg.Guard.Subject(p.who.Agent()))
	// The handle of what will exist, so that a crash leaves a name to revoke by.
	order := mint.Order{
		GrantID: iss.GrantID, IssuanceID: iss.ID, SessionName: session, Role: req.Scope().Role(), NotAfter: iss.NotAfter, IssuedAt: now, Permissions: req.Sealed(),
	}
	handle, err := json.Marshal(order.Handle(string(req.Scope().Provider())))
	if err != nil {
		return err
	}
	if p.intent, err = p.tx.Intend(c, o.Named(session, handle)); err != nil {
		return err
	}
	return p.key.Made(p.tx, iss)
}

// permitLife is how long a permit can be used: the time to reach STS.
const permitLife = 10 * time.Second

// issue is steps 7 and 8: the intent is durable, the outcome will be before
// anything is returned. The caller going away changes nothing.
func (s *Service) issue(ctx context.Context, g store.Grant, intent ledger.Intent) (Issued, error) {
	ctx = context.WithoutCancel(ctx)
	cred, mintErr := s.mint(ctx, intent)
	ctx, cancel := context.WithTimeout(ctx, ledger.Timeout)
	defer cancel()
	var ended error
	receipt, err := s.cfg.Ledger.Conclude(ctx, intent, func(t *ledger.Tx) (c grant.Change, err error) {
		c, g, ended, err = s.conclude(t, intent, cred, mintErr)
		return c, err
	})
	if err = errors.Join(mintErr, ended, err); err != nil {
		// Not delivered. What may exist is in the work table; or is an open intent,
		// where that could not be written, and is revoked when it is stale; or is on
		// the record as issued, where only its proof failed, and is taken back.
		if cred.Valid() {
			s.cfg.Revocation.TakeBack(intent.Opening().Issuance())
		}
		s.cfg.Revocation.Wake()
		return Issued{Grant: g}, err
	}
	s.cfg.Notify.Announce(g.ID)
	return Issued{Grant: g, Credential: cred, Receipt: receipt}, nil
}

// mint is step 7. An error says whether something may exist all the same.
func (s *Service) mint(ctx context.Context, intent ledger.Intent) (mint.Credential, error) {
	permit, err := s.permit(intent)
	if err == nil {
		err = s.cfg.Ledger.Damage() // found since the intent
	}
	if err != nil {
		return mint.Credential{}, mint.Harmless(err)
	}
	ctx, cancel := context.WithTimeout(ctx, mint.Timeout)
	defer cancel()
	cred, err := s.cfg.Minter.Mint(ctx, permit)
	if err == nil && !cred.Valid() {
		err = fmt.Errorf("%w: no credential came", mint.ErrInvalid)
	}
	return cred, err
}

// permit turns a durable intent into the order to mint exactly that.
func (s *Service) permit(intent ledger.Intent) (mint.Permit, error) {
	if !intent.Valid() {
		return mint.Permit{}, ledger.ErrNotDurable
	}
	c, iss, now := intent.Clearance(), intent.Opening().Issuance(), s.cfg.Now()
	d := c.Decision()
	req := d.Request()
	return s.cfg.Signer.Sign(mint.Order{
		GrantID: iss.GrantID, TaskID: d.Task().ID, AgentID: d.Agent().ID().String(),
		ScopeName: req.Scope().Name(), ScopeVersion: req.Scope().Version(),
		EnvelopeDigest: c.Digest(), IssuanceID: iss.ID, SessionName: intent.Opening().Session(),
		Role: req.Scope().Role(), Permissions: req.Sealed(), SourceCIDRs: req.Scope().SourceCIDRs(), Regions: req.Scope().Regions(),
		NotAfter: iss.NotAfter, IssuedAt: now, PermitExpires: now.Add(permitLife),
	})
}
