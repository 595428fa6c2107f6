package iam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Dialect is what the target accepts as a session policy. The zero value is refused by Bind.
type Dialect string

// The dialects.
const (
	// DialectAWS is AWS itself.
	DialectAWS Dialect = "aws"
	// DialectS3 is MinIO and its kin: S3 actions alone, no NotAction, no IfExists, no aws:CurrentTime with Action "*".
	//
	// NOTE: To MinIO a call on a bucket is one on "bucket/", unless a pattern is "bucket" to the letter. There an Allow of
	// s3:ListBucket on "bucket/*" lists the bucket, and a Deny on "b?cket" does not stop it; on AWS it is the other way
	// round, and so it is to Allows.
	DialectS3 Dialect = "s3-compatible"
)

// Limits is what Bind adds to a policy.
type Limits struct {
	NotAfter    time.Time // required; the deadline is rounded down to a whole second
	SourceCIDRs []string  // empty means any network
	Regions     []string  // AWS Regions, "eu-west-1"; empty means any. The s3 dialect has none
	Dialect     Dialect   // required
}

// timeLayout is ISO 8601 in UTC, whole seconds: always 20 characters, so a policy can be measured before its deadline
// is known.
const timeLayout = "2006-01-02T15:04:05Z"

// Bind returns p with its limits as explicit denies. They are explicit because a resource policy that names the
// session is not limited by a session policy's implicit deny, but an explicit one beats it
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session). All of them count in Size.
//
//   - everything, after NotAfter;
//   - everything, from outside SourceCIDRs, unless AWS calls on the session's behalf;
//   - everything with an endpoint outside Regions, but for services that have one endpoint for all;
//   - every action that p does not allow (not in the s3 dialect, whose servers refuse NotAction);
//   - every resource that p does not allow, unless p allows "*".
func Bind(p Policy, l Limits) (Policy, error) {
	if err := p.ValidateSession(); err != nil {
		return Policy{}, fmt.Errorf("binding policy: %w", err)
	}
	if p.Version == Version2008 {
		// Its "${" is text; under the version that Bind prints, it would be a variable.
		return Policy{}, fmt.Errorf("binding policy: %w: version %q; write it for %q", ErrPolicy, p.Version, Version)
	}
	if l.NotAfter.IsZero() {
		return Policy{}, fmt.Errorf("binding policy: %w: no deadline", ErrPolicy)
	}
	every := "*"
	switch l.Dialect {
	case DialectAWS:
	case DialectS3:
		every = "s3:*"
	default:
		return Policy{}, fmt.Errorf("binding policy: %w: dialect %q", ErrPolicy, l.Dialect)
	}
	actions, resources, err := granted(p)
	if err != nil {
		return Policy{}, fmt.Errorf("binding policy: %w", err)
	}

	if l.Dialect == DialectS3 {
		if i := slices.IndexFunc(actions, func(a string) bool { return !strings.HasPrefix(a, "s3:") }); i >= 0 {
			return Policy{}, fmt.Errorf("binding policy: %w: action %q in dialect %q", ErrPolicy, actions[i], l.Dialect)
		}
	}

	denies := []Statement{{Effect: Deny, Action: []string{every}, Resource: []string{"*"},
		Condition: map[string]map[string][]string{
			"DateGreaterThan": {"aws:CurrentTime": {l.NotAfter.UTC().Format(timeLayout)}}}}}
	if len(l.SourceCIDRs) > 0 {
		s, err := networked(every, l)
		if err != nil {
			return Policy{}, fmt.Errorf("binding policy to networks: %w", err)
		}
		denies = append(denies, s)
	}
	if len(l.Regions) > 0 {
		if l.Dialect != DialectAWS {
			return Policy{}, fmt.Errorf("binding policy: %w: Regions in dialect %q, which has no aws:RequestedRegion; "+
				"leave them out or use an AWS target", ErrPolicy, l.Dialect)
		}
		s, err := regional(actions, l.Regions)
		if err != nil {
			return Policy{}, fmt.Errorf("binding policy to Regions: %w", err)
		}
		denies = append(denies, s)
	}
	if l.Dialect == DialectAWS && !slices.Contains(actions, "*") {
		denies = append(denies, Statement{Effect: Deny, NotAction: actions, Resource: []string{"*"}})
	}
	if !slices.Contains(resources, "*") {
		denies = append(denies, Statement{Effect: Deny, Action: []string{every}, NotResource: resources})
	}
	out := p.Clone()
	out.Version = Version
	out.Statements = append(out.Statements, denies...)
	return out, nil
}

// networked returns the Deny of everything from outside the networks. What AWS calls on the session's behalf comes from
// AWS's own addresses (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-ip.html).
func networked(every string, l Limits) (Statement, error) {
	for _, c := range l.SourceCIDRs {
		if _, err := netip.ParsePrefix(c); err != nil {
			return Statement{}, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	cond := map[string]map[string][]string{"NotIpAddress": {"aws:SourceIp": slices.Clone(l.SourceCIDRs)}}
	if l.Dialect == DialectAWS {
		cond["Bool"] = map[string][]string{"aws:ViaAWSService": {"false"}}
	}
	return Statement{Effect: Deny, Action: []string{every}, Resource: []string{"*"}, Condition: cond}, nil
}

// granted returns the union of what the Allows name. A complement in an Allow has no such list, and no scope compiles
// to one.
func granted(p Policy) (actions, resources []string, err error) {
	for _, s := range p.Statements {
		if s.Effect != Allow {
			continue
		}
		if len(s.NotAction) > 0 || len(s.NotResource) > 0 {
			return nil, nil, fmt.Errorf("%w: an Allow with NotAction or NotResource", ErrPolicy)
		}
		actions = append(actions, s.Action...)
		resources = append(resources, s.Resource...)
	}
	slices.Sort(actions)
	slices.Sort(resources)
	return slices.Compact(actions), slices.Compact(resources), nil
}
