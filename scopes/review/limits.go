package review

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
)

// limits compares what bounds every credential of the scope: its life, its networks and Regions, its role, its wrapping.
func (p *pair) limits() {
	if x, y := p.a.MaxTTL(), p.b.MaxTTL(); y > x {
		p.gain(Change{Kind: KindLife, What: fmt.Sprintf("lives up to %s, not %s", y, x), Known: true, Witness: "--ttl " + y.String()})
	} else if y < x {
		p.lose(Change{Kind: KindLife, What: fmt.Sprintf("lives up to %s, now %s", x, y), Witness: "--ttl " + x.String()})
	}
	if x, y := p.a.DefaultTTL(), p.b.DefaultTTL(); x != y {
		p.note("without a wish it lives %s, not %s", y, x)
	}
	p.networks()
	p.regions()
	if p.a.Role() != p.b.Role() {
		c := Change{
			Kind: KindRole, What: fmt.Sprintf("comes from role %s, not %s", p.b.Role(), p.a.Role()),
			Why: "the same words may reach another account or server",
		}
		p.gain(c)
	}
	x, errX := wrapped(p.before, p.a)
	y, errY := wrapped(p.after, p.b)
	switch {
	case errX != nil || errY != nil || x == y:
	case x:
		p.gain(Change{Kind: KindBinding, What: "the answer is no longer wrapped, so that the broker sees it", Known: true})
	default:
		p.lose(Change{Kind: KindBinding, What: "the answer was not wrapped"})
	}
}

func wrapped(c *scopes.Catalog, s *scopes.Scope) (bool, error) {
	_, r, err := example(c, s)
	return r.Permissions().VaultWrap, err
}

// networks compares the networks that credentials work from. A network that two of the other side make up together
// counts as new.
func (p *pair) networks() {
	x, y := p.a.SourceCIDRs(), p.b.SourceCIDRs()
	if more := outside(y, x); len(more) > 0 {
		p.gain(networkChange(more, "was", x))
	}
	if less := outside(x, y); len(less) > 0 {
		p.lose(networkChange(less, "now", y))
	}
}

// outside returns the networks that are not within one of the others; none at all is every network.
func outside(these, those []string) []string {
	switch {
	case len(those) == 0:
		return nil
	case len(these) == 0:
		return []string{"any network"}
	}
	return slices.DeleteFunc(slices.Clone(these), func(s string) bool {
		n, err := netip.ParsePrefix(s)
		return err == nil && slices.ContainsFunc(those, func(t string) bool {
			m, err := netip.ParsePrefix(t)
			return err == nil && m.Bits() <= n.Bits() && m.Contains(n.Addr())
		})
	})
}

func networkChange(networks []string, word string, other []string) Change {
	c := Change{Kind: KindBinding, What: "works from " + strings.Join(networks, ", "), Known: true}
	if len(other) > 0 {
		c.What += " (" + word + ": only " + strings.Join(other, ", ") + ")"
	}
	if n, err := netip.ParsePrefix(networks[0]); err == nil {
		c.Witness = "aws:SourceIp=" + n.Addr().String()
	}
	return c
}

// regions compares the AWS Regions that credentials work in; none is every Region.
func (p *pair) regions() {
	change := func(these, those []string, word string) Change {
		c := Change{Kind: KindBinding, What: "works in any Region", Known: true}
		if more := without(these, those); len(more) > 0 {
			c.What, c.Witness = "works in "+strings.Join(more, ", "), "aws:RequestedRegion="+more[0]
		}
		c.What += " (" + word + ": only " + strings.Join(those, ", ") + ")"
		return c
	}
	x, y := p.a.Regions(), p.b.Regions()
	if len(x) > 0 && (len(y) == 0 || len(without(y, x)) > 0) {
		p.gain(change(y, x, "was"))
	}
	if len(y) > 0 && (len(x) == 0 || len(without(x, y)) > 0) {
		p.lose(change(x, y, "now"))
	}
}

func without(these, those []string) []string {
	return slices.DeleteFunc(slices.Clone(these), func(s string) bool { return slices.Contains(those, s) })
}
