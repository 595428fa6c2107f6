package mint

import (
	"context"
	"fmt"
	"time"
)

// RevokeOutcome says how a revoked credential ends.
type RevokeOutcome int

const (
	// RevokeUnspecified is the zero value: nothing is known.
	RevokeUnspecified RevokeOutcome = iota
	// RevokedUpstream says that the upstream confirmed that it no longer works.
	RevokedUpstream
	// DeadlineOnly says that the upstream cannot end it early, or did not: it works until its deadline.
	DeadlineOnly
	// RoleDeny says that the role's policy now denies this one session. AWS applies it within
	// seconds, at most a few minutes.
	RoleDeny
	// AgentCut says that the role's policy now denies every session of this one agent that was
	// issued before the cut, this one among them.
	AgentCut
	// RoleCut says that the role's policy now denies every session of the role that was issued
	// before the cut, this one among them.
	RoleCut
)

// String is the name used in records.
func (r RevokeOutcome) String() string {
	switch r {
	case RevokedUpstream:
		return "revoked_upstream"
	case DeadlineOnly:
		return "deadline_only"
	case RoleDeny:
		return "role_deny"
	case AgentCut:
		return "agent_cut"
	case RoleCut:
		return "role_cut"
	default:
		return "unspecified"
	}
}

// Timeout bounds step 7 even when the upstream hangs.
const Timeout = 15 * time.Second

// Minter turns permits into credentials at one upstream.
//
// Mint verifies and spends the permit first. It returns within its own deadline,
// and never a credential together with an error. After an error, Maybe says whether
// something may exist upstream under Order.Handle.
//
// Revoke is safe to repeat, and accepts a Handle from Order.Handle for a minting that was
// never answered. Ending what is already gone is a success. An error means: try again.
//
// Implementations are safe for concurrent use.
type Minter interface {
	Mint(ctx context.Context, p Permit) (Credential, error)
	Revoke(ctx context.Context, h Handle) (RevokeOutcome, error)
}

// Urgent is a Minter where some revocations have to go before others: those of operators, before
// what agents release.
type Urgent interface {
	Minter
	// RevokeFirst is Revoke for an operator.
	RevokeFirst(ctx context.Context, h Handle) (RevokeOutcome, error)
}

// RevokeFirst revokes for an operator, before others where m tells them apart.
func RevokeFirst(ctx context.Context, m Minter, h Handle) (RevokeOutcome, error) {
	if u, ok := m.(Urgent); ok {
		return u.RevokeFirst(ctx, h)
	}
	return m.Revoke(ctx, h)
}

// ByRole is a Minter that hands each permit and handle to its role's Minter. It must
// not be changed once in use.
type ByRole map[string]Minter

// Mint implements Minter.
func (m ByRole) Mint(ctx context.Context, p Permit) (Credential, error) {
	to, ok := m[p.Role()]
	if !ok {
		return Credential{}, fmt.Errorf("minting for role %q: not configured: %w", p.Role(), ErrPermit)
	}
	return to.Mint(ctx, p)
}

// Revoke implements Minter.
func (m ByRole) Revoke(ctx context.Context, h Handle) (RevokeOutcome, error) {
	to, err := m.of(h)
	if err != nil {
		return RevokeUnspecified, err
	}
	return to.Revoke(ctx, h)
}

// RevokeFirst implements Urgent.
func (m ByRole) RevokeFirst(ctx context.Context, h Handle) (RevokeOutcome, error) {
	to, err := m.of(h)
	if err != nil {
		return RevokeUnspecified, err
	}
	return RevokeFirst(ctx, to, h)
}

func (m ByRole) of(h Handle) (Minter, error) {
	to, ok := m[h.Role]
	if !ok {
		return nil, fmt.Errorf("revoking for role %q: not configured: %w", h.Role, ErrRefused)
	}
	return to, nil
}
