package iam

import (
	"fmt"
	"net/netip"
	"time"
)

// Limits is what Bind adds to a policy.
type Limits struct {
	NotAfter    time.Time // required; the deadline is rounded down to a whole second
	SourceCIDRs []string  // empty means any network
	Regions     []string  // AWS Regions, "eu-west-1"; empty means any. AWS alone has them
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
//   - every pair of an action and a resource that p does not name together in an Allow: see edges.
//
// A dialect that cannot keep a limit refuses it: ErrDialect.
func Bind(p Policy, l Limits) (Policy, error) {
	out, err := bind(&p, &l)
	if err != nil {
		return Policy{}, err
	}
	return out.Clone(), nil
}

// BindText is Bind and Marshal in one, which checks the policy once: what Bind adds is well-formed.
func BindText(p Policy, l Limits) ([]byte, error) {
	out, err := bind(&p, &l)
	if err != nil {
		return nil, err
	}
	return out.print()
}

// BoundSize is Bind and Size in one, likewise.
func BoundSize(p Policy, l Limits) (int, error) {
	out, err := bind(&p, &l)
	if err != nil {
		return 0, err
	}
	return out.length(), nil
}

// bind is Bind, whose policy shares lists with its arguments.
func bind(p *Policy, l *Limits) (Policy, error) {
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
	if err := l.check(p); err != nil {
		return Policy{}, fmt.Errorf("binding policy: %w", err)
	}
	srv := l.Dialect.server()
	every := []string{srv.everything()}
	pairs, err := granted(p)
	if err != nil {
		return Policy{}, fmt.Errorf("binding policy: %w", err)
	}

	out := Policy{Version: Version, ID: p.ID, Statements: make([]Statement, len(p.Statements), len(p.Statements)+5+len(pairs))}
	copy(out.Statements, p.Statements)
	out.Statements = append(out.Statements, Statement{Effect: Deny, Action: every, Resource: everything,
		Condition: map[string]map[string][]string{
			"DateGreaterThan": {"aws:CurrentTime": {l.NotAfter.UTC().Format(timeLayout)}}}})
	if len(l.SourceCIDRs) > 0 {
		s, err := networked(every, l)
		if err != nil {
			return Policy{}, fmt.Errorf("binding policy to networks: %w", err)
		}
		out.Statements = append(out.Statements, s)
	}
	if len(l.Regions) > 0 {
		s, err := regional(actionsOf(pairs), l.Regions)
		if err != nil {
			return Policy{}, fmt.Errorf("binding policy to Regions: %w", err)
		}
		out.Statements = append(out.Statements, s)
	}
	out.Statements = edges(out.Statements, pairs, l.Dialect)
	return out, nil
}

// everything is the list of what every resource is in, and every action of AWS; read-only.
var everything = []string{"*"}

// check refuses what the dialect's enforcer would not keep.
func (l *Limits) check(p *Policy) error {
	if err := l.Dialect.check(); err != nil {
		return err
	}
	if err := l.Dialect.Models(*p); err != nil {
		return err
	}
	if len(l.Regions) > 0 && l.Dialect != DialectAWS {
		return fmt.Errorf("%w: Regions in dialect %q, which has no aws:RequestedRegion; leave them out or use an AWS target", ErrDialect, l.Dialect)
	}
	if srv := l.Dialect.server(); len(l.SourceCIDRs) > 1 && srv != nil && srv.odd {
		return fmt.Errorf("%w: several networks in dialect %q, which would deny each for not being the other; write one", ErrDialect, l.Dialect)
	}
	if len(l.SourceCIDRs) > 0 && l.Dialect.Believes() {
		return fmt.Errorf("%w: networks in dialect %q, whose server takes a caller's address from a header of the caller's; "+
			"leave them out, and keep strangers off by a firewall", ErrDialect, l.Dialect)
	}
	return nil
}

// everything names every action that a session policy of the server can deny under a condition.
func (srv *server) everything() string {
	if srv == nil {
		return "*"
	}
	return srv.every
}

// networked returns the Deny of everything from outside the networks. What AWS calls on the session's behalf comes from
// AWS's own addresses (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-ip.html).
func networked(every []string, l *Limits) (Statement, error) {
	for _, c := range l.SourceCIDRs {
		if _, err := netip.ParsePrefix(c); err != nil {
			return Statement{}, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	cond := map[string]map[string][]string{"NotIpAddress": {"aws:SourceIp": l.SourceCIDRs}}
	if l.Dialect == DialectAWS {
		cond["Bool"] = map[string][]string{"aws:ViaAWSService": {"false"}}
	}
	return Statement{Effect: Deny, Action: every, Resource: everything, Condition: cond}, nil
}

// actionsOf are the actions of all pairs, sorted.
func actionsOf(pairs []pair) []string {
	if len(pairs) == 1 {
		return pairs[0].actions
	}
	var out []string
	for _, p := range pairs {
		out = append(out, p.actions...)
	}
	return union(out, nil)
}

// resourcesOf are the resources of all pairs, sorted.
func resourcesOf(pairs []pair) []string {
	if len(pairs) == 1 {
		return pairs[0].resources
	}
	var out []string
	for _, p := range pairs {
		out = append(out, p.resources...)
	}
	return union(out, nil)
}
