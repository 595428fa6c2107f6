package scopes

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// hopeless is how large a bound policy may be for shrinking to be tried. Shrinking costs up to a thousand times what
// measuring does, and seldom takes off more than a third.
const hopeless = 2 * iam.MaxSize

// fits returns the policy, shrunk where it does not fit otherwise, as it is bound for the dialect. Deadlines all have the
// same width. What is shrunk has been proven again to lie within the ceiling.
func (s *Scope) fits(d iam.Dialect, p *iam.Policy) (*iam.Policy, error) {
	size, err := s.BoundSize(d, *p)
	if err != nil {
		return nil, err
	}
	if size <= iam.MaxSize {
		return p, nil
	}
	tooLarge := fmt.Errorf("%w: %d characters are over the %d that STS takes", ErrTooLarge, size, iam.MaxSize)
	if size > hopeless {
		return nil, tooLarge
	}
	small, _, err := iam.ShrinkBound(*p, s.limits(d))
	if err != nil {
		return nil, fmt.Errorf("%w, and %w", tooLarge, err)
	}
	if size, err = s.BoundSize(d, small); err != nil {
		return nil, err
	}
	if size > iam.MaxSize {
		return nil, tooLarge
	}
	if err := s.provePossible(d, small); err != nil {
		// What was asked for is within the ceiling; only its shorter form could not be shown to be.
		return nil, fmt.Errorf("%w, and shrunk to %d it is %v", tooLarge, size, err) //nolint:errorlint // it is too large, not unproven
	}
	return &small, nil
}

// limits are the scope's own, with some deadline.
func (s *Scope) limits(d iam.Dialect) iam.Limits {
	return iam.Limits{NotAfter: time.Unix(0, 0).UTC(), SourceCIDRs: s.sourceCIDRs, Regions: s.regions, Dialect: d}
}

// BoundSize returns how many of iam.MaxSize characters a policy of the scope takes once it is bound, for the dialect, to a
// deadline, of which all are equally long, and to the scope's networks and Regions. The error is iam.Bind's.
func (s *Scope) BoundSize(d iam.Dialect, p iam.Policy) (int, error) {
	return iam.BoundSize(p, s.limits(d))
}
