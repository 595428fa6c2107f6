package review

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// comparePermissions tells what the second permissions give and the first do not, and the reverse. Nil is nothing.
func comparePermissions(before, after *scopes.Permissions) (gained, lost []Change, err error) {
	if isAWS(before) || isAWS(after) {
		d, err := iam.Diff(policies(before), policies(after))
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
		words := c
		words.Known, words.Why = false, "" // the witness has a place of its own
		n := Change{
			Kind: KindPermission, Tier: ofClass(c.Tier), What: strings.TrimSuffix(words.String(), "; perhaps: "), Known: c.Known, Why: c.Why,
		}
		if c.Known {
			n.Witness = RequestText(c.Witness)
		}
		out = append(out, n)
	}
	return out
}

// RequestText says a request to AWS on one line.
func RequestText(r iam.Request) string {
	out := r.Action + " on " + r.Resource
	var keys []string
	for k, vs := range r.Context {
		keys = append(keys, k+"="+strings.Join(vs, ","))
	}
	slices.Sort(keys)
	if len(keys) > 0 {
		out += " with " + strings.Join(keys, " ")
	}
	return out
}

func vaultChanges(in []vaultacl.Change) []Change {
	var out []Change
	for _, c := range in {
		var ops []string
		for _, op := range c.Operations {
			ops = append(ops, string(op))
		}
		what := strings.Join(ops, ", ") + " on " + c.Path
		if c.Sudo {
			what += ", also where sudo is needed"
		}
		out = append(out, Change{
			Kind: KindPermission, Tier: ofVault(c.Tier), What: what, Known: c.Known, Witness: c.Witness.String(), Why: c.Why,
		})
	}
	return out
}
