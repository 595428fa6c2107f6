package review

import (
	"fmt"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// comparePermissions tells what the second permissions give and the first do not, and the reverse. Nil is nothing.
func comparePermissions(before, after *scopes.Permissions) (gained, lost []Change, err error) {
	if isAWS(before) || isAWS(after) {
		d, err := iam.Diff(dialectOf(before, after), policies(before), policies(after))
		if err != nil {
			return nil, nil, fmt.Errorf("comparing permissions: %w", err)
		}
		gained, lost = append(gained, awsChanges(d.Gained)...), append(lost, awsChanges(d.Lost)...)
	}
	if isVault(before) || isVault(after) {
		d := vaultacl.Diff(tokens(before), tokens(after))
		gained, lost = append(gained, vaultChanges(d.Gained)...), append(lost, vaultChanges(d.Lost)...)
		if !d.Complete {
			doubt := Change{Kind: KindPermission, Tier: scopes.TierAdmin, What: "more than was found", Why: d.Why}
			gained, lost = append(gained, doubt), append(lost, doubt)
		}
	}
	return gained, lost, nil
}

func isAWS(p *scopes.Permissions) bool   { return p != nil && p.AWS != nil }
func isVault(p *scopes.Permissions) bool { return p != nil && p.AWS == nil }

// dialectOf is the one dialect of both, of which one may be nil.
func dialectOf(before, after *scopes.Permissions) iam.Dialect {
	if isAWS(before) {
		return before.Dialect
	}
	return after.Dialect
}

func policies(p *scopes.Permissions) []iam.Policy {
	if !isAWS(p) {
		return nil
	}
	return []iam.Policy{*p.AWS}
}

func tokens(p *scopes.Permissions) []vaultacl.Policy {
	if !isVault(p) {
		return nil
	}
	return []vaultacl.Policy{VaultPolicy(*p)}
}

// VaultPolicy gives Vault permissions as a policy. What the broker reads for the agent counts as a read.
func VaultPolicy(p scopes.Permissions) vaultacl.Policy {
	rules := p.Vault
	if p.VaultRead != "" {
		rules = []vaultacl.Rule{{Path: p.VaultRead, Capabilities: []string{"read"}}}
	}
	return vaultacl.FromRules("scope", rules)
}

func awsChanges(in []iam.Change) []Change {
	var out []Change
	for _, c := range in {
		n := Change{
			Kind: KindPermission, Tier: ofClass(c.Tier), What: c.What(), Known: c.Known, Why: c.Why,
		}
		if c.Known {
			n.Witness = c.Witness.String()
		}
		out = append(out, n)
	}
	return out
}

func vaultChanges(in []vaultacl.Change) []Change {
	var out []Change
	for _, c := range in {
		out = append(out, Change{
			Kind: KindPermission, Tier: max(c.Tier, scopes.TierRead), What: c.What(), Known: c.Known, Witness: c.Witness.String(), Why: c.Why,
		})
	}
	return out
}
