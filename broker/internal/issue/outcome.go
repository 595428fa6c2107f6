package issue

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/broker/store"
)

// conclude finds out the outcome, inside its transaction. It takes back what may not be
// delivered any more: ended says that the grant was ended, its agent frozen, or its
// approval lost while the credential was being minted.
func (s *Service) conclude(t *ledger.Tx, intent ledger.Intent, cred mint.Credential, mintErr error) (c grant.Change, g store.Grant, ended, err error) {
	iss := intent.Opening().Issuance()
	if g, err = t.Grant(iss.GrantID); err != nil {
		return c, g, nil, err
	}
	known, err := found(cred, mintErr)
	if err != nil {
		return c, g, nil, err
	}
	open, err := t.Issuance(iss.GrantID, iss.ID)
	if err != nil {
		return c, g, nil, err
	}
	frozen := guard.FrozenAgent(t, intent.Clearance().Decision().Agent())
	if frozen != nil && !errors.Is(frozen, guard.ErrFrozen) {
		return c, g, nil, frozen
	}
	approved := s.cfg.Directory.StillApproved(t, g)
	if approved != nil && !errors.Is(approved, quorum.ErrNeeded) {
		return c, g, nil, approved
	}
	closing := intent.Opening().Close(t.Now(), open.State, known)
	orphaned := func(why error, cause string) (grant.Change, store.Grant, error, error) {
		c, err := closing.Orphaned(reasons.Name(why), cause)
		return c, g, why, err
	}
	switch {
	case mintErr != nil && !mint.Maybe(mintErr):
		c, err = closing.Abandoned(reasons.Name(mintErr))
	case mintErr != nil:
		c, err = closing.Failed(reasons.Name(mintErr))
	case frozen != nil:
		return orphaned(guard.ErrFrozen, "the agent was frozen while its credential was minted")
	case !g.State.Live() || open.State != store.IssuanceIntended:
		return orphaned(grant.ErrGrantEnded, "the grant ended while its credential was minted")
	case approved != nil:
		return orphaned(approved, "an approver was frozen while the credential was minted")
	default:
		c, g, err = closing.Issued(g)
	}
	return c, g, nil, err
}

// found is what became known of a credential; nil for nothing.
func found(cred mint.Credential, mintErr error) (*grant.Found, error) {
	var h mint.Handle
	var ends time.Time
	var outlives *mint.OutlivesError
	switch {
	case errors.As(mintErr, &outlives) && outlives.Left.Provider != "":
		// Nobody has it, and it works all the same: the record names it, with its real end where that is known.
		h, ends = outlives.Left, outlives.Until
	case cred.Valid():
		h, ends = cred.Handle(), cred.ExpiresAt()
	default:
		return nil, nil
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	f := revocation.Named(h, ends)
	f.Handle = raw
	return &f, nil
}
