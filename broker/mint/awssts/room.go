package awssts

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
)

// othersFor is how long the size of a role's other inline policies is believed.
const othersFor = 10 * time.Minute

// Room is how much of a role's inline policy quota there is for revocations, in characters as IAM
// counts them. An entry takes about 61, the first of a quarter of an hour about 120 more.
type Room struct {
	// Limit is what the role's other inline policies leave of 10,240.
	Limit int
	// Used is by this broker's policy, Reserved is for operators alone.
	Used, Reserved int
	// Entries and Agents are the sessions and the agents that are denied.
	Entries, Agents int
	// Exact says that the other inline policies were measured; else Limit is the most there can be,
	// less what a refusal has taught.
	Exact bool
}

// Left is what agents' releases can take.
func (r Room) Left() int { return max(0, r.Limit-r.Reserved-r.Used) }

// Room is the last that is known, and whether anything is; not known without Config.RoleDeny.
func (m *Minter) Room() (Room, bool) {
	if m.deny == nil {
		return Room{}, false
	}
	m.deny.mu.Lock()
	defer m.deny.mu.Unlock()
	return m.deny.room, m.deny.room.Limit > 0
}

// Look reads the role and its policy, so that Room is known. It changes nothing. Without
// Config.RoleDeny it does nothing.
func (m *Minter) Look(ctx context.Context) error {
	if m.deny == nil {
		return nil
	}
	if _, err := m.deny.policy.roleID(ctx); err != nil {
		return err
	}
	select {
	case m.deny.turn <- struct{}{}:
		defer func() { <-m.deny.turn }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for the role's policy: %w", ctx.Err())
	}
	_, _, err := m.deny.read(ctx)
	return err
}

// measure finds out what the role's other inline policies take, where the broker may ask.
func (d *denier) measure(ctx context.Context) {
	d.mu.Lock()
	due := d.others.IsZero() || d.now().Sub(d.others).Abs() > othersFor
	d.mu.Unlock()
	if !due {
		return
	}
	size, err := d.policy.othersSize(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others = d.now()
	if d.room.Exact = err == nil; d.room.Exact {
		d.room.Limit = max(0, maxInline-size)
	}
}

// measureAgain is for when IAM has refused what should have fitted.
func (d *denier) measureAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others = time.Time{}
}

// limitNow is how many characters the broker's policy may have.
func (d *denier) limitNow() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.room.Exact {
		return maxInline // what a refusal taught may be over
	}
	return d.room.Limit
}

// wrote keeps what a write, or a read, has shown.
func (d *denier) wrote(limit int, l denyList) {
	size, err := d.parser.size(l)
	if err != nil {
		return // the same list was just marshalled
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room.Limit, d.room.Used, d.room.Reserved = limit, size, operatorRoom
	d.room.Entries, d.room.Agents = len(l.entries), len(l.agents)
}

// othersSize is how many characters the role's other inline policies have.
func (p *rolePolicy) othersSize(ctx context.Context) (size int, err error) {
	var marker *string
	for {
		var out *awsiam.ListRolePoliciesOutput
		if err := p.call(ctx, func(ctx context.Context) (err error) {
			out, err = p.iam.ListRolePolicies(ctx, &awsiam.ListRolePoliciesInput{RoleName: aws.String(p.role), Marker: marker})
			return err
		}); err != nil {
			return 0, fmt.Errorf("listing policies of role %q: %w", p.role, err)
		}
		for _, name := range out.PolicyNames {
			if name == p.name {
				continue
			}
			text, _, err := p.named(ctx, name)
			if err != nil {
				return 0, err
			}
			size += counted(text)
		}
		if !out.IsTruncated || aws.ToString(out.Marker) == "" {
			return size, nil
		}
		marker = out.Marker
	}
}

// counted is a policy's size as IAM counts it: without white space.
func counted(text string) (n int) {
	for _, r := range text {
		switch r {
		case ' ', '\t', '\n', '\r':
		default:
			n++
		}
	}
	return n
}
