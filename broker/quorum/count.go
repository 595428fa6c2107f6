package quorum

import (
	"errors"

	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/store"
)

// Rows are what is read to count the votes on a grant.
type Rows interface {
	Approvals(grantID string) ([]store.Approval, error)
	guard.Freezes
}

// Tally verifies the votes on g again. now is who asks now, beside who asked then.
// The votes of somebody who is frozen do not count. It is zero where nobody is asked, or
// the Directory is nil.
func (b *Directory) Tally(r Rows, g store.Grant, now ...string) (Tally, error) {
	if g.Case == nil || b == nil {
		return Tally{}, nil
	}
	kept, err := r.Approvals(g.ID)
	if err != nil {
		return Tally{}, err
	}
	var votes []Vote
	for _, k := range kept {
		frozen, err := b.Frozen(r, k.Person)
		if err != nil {
			return Tally{}, err
		}
		if !frozen {
			votes = append(votes, VoteOf(k))
		}
	}
	return b.Count(CaseOf(g), votes, now...), nil
}

// StillApproved says whether people's yes to g stands: nil, or a NeededError. A
// grant that needs nobody's is as it was decided.
func (b *Directory) StillApproved(r Rows, g store.Grant, now ...string) error {
	if g.Case == nil || b == nil {
		return nil
	}
	t, err := b.Tally(r, g, now...)
	if err != nil {
		return err
	}
	if lacks := Lacking(g.Needs, t); len(lacks) > 0 {
		return &NeededError{Needs: lacks}
	}
	return nil
}

// Frozen says whether any of a person's IDs is frozen.
func (b *Directory) Frozen(r guard.Freezes, person string) (bool, error) {
	for _, id := range b.IDs(person) {
		switch err := guard.Frozen(r, id); {
		case errors.Is(err, guard.ErrFrozen):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// FrozenPeople are those of whom Frozen is true.
func (b *Directory) FrozenPeople(r guard.Freezes) (frozen []string, err error) {
	for _, name := range b.People() {
		is, err := b.Frozen(r, name)
		if err != nil {
			return nil, err
		}
		if is {
			frozen = append(frozen, name)
		}
	}
	return frozen, nil
}

// VoteOf is a vote as it was kept.
func VoteOf(k store.Approval) Vote {
	return Vote{Person: k.Person, Decision: evidence.Decision(k.Decision), Comment: k.Comment, Statement: []byte(k.Statement), Signature: k.Signature}
}

// Rejects says that it is a no.
func (v Vote) Rejects() bool { return v.Decision == evidence.Reject }

// CaseOf is what people decide of g, which has a Case.
func CaseOf(g store.Grant) Case {
	return Case{
		Grant: g.ID, Digest: g.Digest, Nonce: g.Case.Nonce, Tier: g.Tier, Needs: g.Needs, Identity: g.Case.Identity, Claim: g.Case.Claim,
		Asked: g.RequestedAt, Lapses: g.Case.Lapses,
	}
}
