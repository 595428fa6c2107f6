package awssts

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/iam"
)

// What is refused before the call, each wrapping the step's own sentinel.
var (
	// ErrPolicySize: the bound session policy has over 2,048 characters.
	ErrPolicySize = fmt.Errorf("awssts: session policy over %d characters: %w", iam.MaxSize, mint.ErrTooLarge)
	// ErrTag: a session tag is longer than AWS takes, or has characters it refuses.
	ErrTag = fmt.Errorf("awssts: session tag not legal: %w", mint.ErrTooLarge)
	// ErrRoleMaximum: the deadline is further away than the role's maximum session.
	ErrRoleMaximum = fmt.Errorf("awssts: over the role's maximum session: %w", mint.ErrLifetime)
	// ErrChaining: the deadline is further away than the hour that role chaining allows.
	ErrChaining = fmt.Errorf("awssts: over the hour that role chaining allows: %w", mint.ErrLifetime)
	// ErrPast: the deadline is over.
	ErrPast = fmt.Errorf("awssts: deadline is over: %w", mint.ErrLifetime)
)

// plan is one call, complete and within every limit of AWS.
type plan struct {
	policy         string
	seconds        int32
	sourceIdentity string
	tags           []tag
}

type tag struct{ key, value string }

// tagValue is AWS's own pattern for a session tag's value (API reference, Tag).
var tagValue = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

const maxTagValue = 256

// prepare is pure: it reads the order and the clock, and sends nothing.
func (c Config) prepare(o mint.Order, now time.Time) (plan, error) {
	if o.Role != c.Role {
		return plan{}, fmt.Errorf("order is for role %q: %w", o.Role, mint.ErrPermit)
	}
	p := o.Permissions.Permissions()
	if p.AWS == nil || len(p.AWS.Statements) == 0 || len(p.Vault) > 0 || p.VaultRead != "" {
		return plan{}, fmt.Errorf("order's permissions are not AWS permissions: %w", mint.ErrPermit)
	}
	if p.Dialect != c.Dialect {
		return plan{}, fmt.Errorf("order's permissions are proven for dialect %q, and the role's is %q: %w", p.Dialect, c.Dialect, mint.ErrPermit)
	}
	seconds, err := c.duration(o.NotAfter.Sub(now))
	if err != nil {
		return plan{}, err
	}
	if err := c.outlives(o.NotAfter.Sub(now)); err != nil {
		return plan{}, err
	}
	policy, err := c.policy(o, *p.AWS)
	if err != nil {
		return plan{}, err
	}
	out := plan{policy: policy, seconds: seconds, sourceIdentity: sourceIdentity(o.AgentID)}
	for _, t := range []tag{
		{"agent", o.AgentID}, {"task", o.TaskID}, {"grant", o.GrantID}, {"scope", o.ScopeName + "@" + o.ScopeVersion},
	} {
		if utf8.RuneCountInString(t.value) > maxTagValue || !tagValue.MatchString(t.value) {
			return plan{}, fmt.Errorf("tag %q: %w", t.key, ErrTag)
		}
		out.tags = append(out.tags, t)
	}
	return out, nil
}

// duration is what to ask STS for: whole seconds that cover the need, at least 900.
func (c Config) duration(need time.Duration) (int32, error) {
	switch {
	case need <= 0:
		return 0, ErrPast
	case c.Chained && need > maxChained:
		return 0, fmt.Errorf("%v: %w", need, ErrChaining)
	case need > c.MaxSession:
		return 0, fmt.Errorf("%v of %v: %w", need, c.MaxSession, ErrRoleMaximum)
	}
	whole := (need + time.Second - 1).Truncate(time.Second)
	return int32(max(whole, minSession) / time.Second), nil //nolint:gosec // at most 43,200: New checks MaxSession
}

// onTheWay is how much of an order's life may be gone when it is minted.
const onTheWay = 10 * time.Second

// outlives refuses a session that goes on after its order: where a caller's headers beat the deadline
// in the policy, only its lease's revocation ends it before STS does, and that takes a user's key.
func (c Config) outlives(need time.Duration) error {
	if !c.Dialect.Believes() || c.WebIdentity == nil || need+onTheWay >= minSession {
		return nil
	}
	return mint.Harmless(&mint.OutlivesError{Why: fmt.Sprintf(
		"%s keeps no deadline against a caller's headers, a session by web identity there has no lease to revoke, and STS makes none under %v; ask for %v or more",
		c.Dialect, minSession, minSession)})
}

func (c Config) policy(o mint.Order, p iam.Policy) (string, error) {
	doc, err := iam.BindText(p, iam.Limits{NotAfter: o.NotAfter, SourceCIDRs: o.SourceCIDRs, Regions: o.Regions, Dialect: c.Dialect})
	if err != nil {
		return "", fmt.Errorf("binding session policy: %w: %w", mint.ErrPermit, err)
	}
	if n := utf8.RuneCount(doc); n > iam.MaxSize {
		return "", fmt.Errorf("%d characters: %w", n, ErrPolicySize)
	}
	return string(doc), nil
}

// sourceIdentity fits AWS's 64 characters, which a SPIFFE ID does not; the whole ID is in a tag.
func sourceIdentity(agentID string) string {
	sum := sha256.Sum256([]byte(agentID))
	return "vk-" + hex.EncodeToString(sum[:16])
}

// skew is how far apart the clocks may be. The deadline in the policy is by our clock and is
// kept by theirs, so with clocks further apart it would not mean what was approved.
const skew = 2 * time.Minute

// apart is an ErrClock where the server's clock is over skew from ours. A zero at
// is a server that did not tell.
func apart(at, now time.Time) error {
	if off := at.Sub(now); !at.IsZero() && off.Abs() > skew {
		return fmt.Errorf("the server's clock is %v from ours: %w", off.Round(time.Second), mint.ErrClock)
	}
	return nil
}

var errAnswer = errors.New("session lacks a field")

// accept holds the answer against what was asked; every error is ErrInvalid.
func (p plan) accept(a answer, o mint.Order, now time.Time) (time.Time, error) {
	if a.accessKeyID == "" || a.secret == "" || a.token == "" || a.expires.IsZero() {
		return time.Time{}, fmt.Errorf("%w: %w", mint.ErrInvalid, errAnswer)
	}
	if a.session != "" && a.session != o.SessionName {
		return time.Time{}, fmt.Errorf("session has another name: %w", mint.ErrInvalid)
	}
	if err := apart(a.at, now); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", err, mint.ErrInvalid)
	}
	if latest := now.Add(time.Duration(p.seconds)*time.Second + skew); a.expires.After(latest) {
		return time.Time{}, fmt.Errorf("session ends at %v, asked for %d s: %w", a.expires.UTC(), p.seconds, mint.ErrInvalid)
	}
	if !a.expires.After(now) {
		return time.Time{}, fmt.Errorf("session ended at %v: %w", a.expires.UTC(), mint.ErrInvalid)
	}
	if a.expires.Before(o.NotAfter) {
		return a.expires, nil
	}
	return o.NotAfter, nil
}
