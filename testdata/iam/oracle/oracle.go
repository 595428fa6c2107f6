package oracle

import (
	"github.com/versity/versitygw/iamapi/policy"
	"github.com/versity/versitygw/iamapi/types"

	"github.com/valetkey/valetkey/scopes/iam"
)

// evaluate asks the other implementation about one layer: the documents of the identity, or a boundary, or a session.
func evaluate(documents []string, r iam.Request) policy.Decision {
	entries := make([]types.PolicyEntry, len(documents))
	for i, d := range documents {
		entries[i].PolicyDocument = d
	}
	return policy.EvaluateIdentityPolicies(entries, policy.RequestContext{Action: r.Action, Resource: r.Resource, Condition: r.Context})
}

// combine is AWS's order over layers: a Deny in any wins, then each must allow.
func combine(layers ...policy.Decision) iam.Verdict {
	out := iam.Allowed
	for _, d := range layers {
		switch {
		case d == policy.DecisionDeny:
			return iam.ExplicitDeny
		case d != policy.DecisionAllow:
			out = iam.ImplicitDeny
		}
	}
	return out
}
