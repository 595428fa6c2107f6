package scopes

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// hopeless is how large a bound policy may be for shrinking to be tried. Shrinking costs up to a thousand times what
// measuring does, and seldom takes off more than a third.
const hopeless = 2 * iam.MaxSize

// fits returns the policy, shrunk where it does not fit otherwise, as it is bound in the larger dialect. Deadlines all
// have the same width. What is shrunk has been proven again to lie within the ceiling.
func (s *Scope) fits(p iam.Policy) (*iam.Policy, error) {
	size, err := s.BoundSize(p)
	if err != nil {
		return nil, err
	}
	if size <= iam.MaxSize {
		return &p, nil
	}
	tooLarge := fmt.Errorf("%w: %d characters are over the %d that STS takes", ErrTooLarge, size, iam.MaxSize)
	if size > hopeless {
		return nil, tooLarge
	}
	// What binding adds repeats actions and resources, which shrinking leaves the same or makes fewer.
	small, _, err := iam.Shrink(p, iam.MaxSize-(size-iam.Size(p)))
	if err != nil {
		return nil, fmt.Errorf("%w, and %w", tooLarge, err)
	}
	if size, err = s.BoundSize(small); err != nil {
		return nil, err
	}
	if size > iam.MaxSize {
		return nil, tooLarge
	}
	if err := s.provePossible(small); err != nil {
		// What was asked for is within the ceiling; only its shorter form could not be shown to be.
		return nil, fmt.Errorf("%w, and shrunk to %d it is %v", tooLarge, size, err) //nolint:errorlint // it is too large, not unproven
	}
	return &small, nil
}

// BoundSize returns how many of iam.MaxSize characters a policy of the scope takes once it is bound to a deadline, of
// which all are equally long, and to the scope's networks and Regions. The error is iam.Bind's.
func (s *Scope) BoundSize(p iam.Policy) (int, error) {
	bound, err := iam.Bind(p, iam.Limits{NotAfter: time.Unix(0, 0).UTC(), SourceCIDRs: s.sourceCIDRs, Regions: s.regions, Dialect: iam.DialectAWS})
	if err != nil {
		return 0, err
	}
	return iam.Size(bound), nil
}

// measure refuses a scope whose smallest policy cannot be proven within its ceiling, or is too large already.
func (c *compiler) measure() error {
	values, real := c.scope.examples()
	perms, err := c.scope.render(values)
	if err != nil {
		return at("$.statements", err)
	}
	if err := c.scope.prove(perms); err != nil && real {
		return at("$", err)
	}
	if perms.AWS == nil {
		return nil
	}
	if _, err := c.scope.fits(*perms.AWS); err != nil {
		return atf("$.statements", "%w, even with the shortest parameters; a wildcard in an action is expanded", err)
	}
	return nil
}
