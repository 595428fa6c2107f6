package iam

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// Way leads from rights to wider rights: who has all of Actions and any of OneOf can gain what Why says. Ways come from
// the review of the actions (scopes/actions/review): what leads to wider rights alone, and what takes a role, which
// iam:PassRole has to go with.
type Way struct {
	Actions []string `json:"actions"` // all are needed; may be empty
	OneOf   []string `json:"one_of"`  // each is enough, sorted; those that the policy allows
	Why     string   `json:"why"`
}

// String names the actions, of OneOf the first few.
func (w Way) String() string {
	const few = 4
	parts := slices.Clone(w.Actions)
	switch more := len(w.OneOf) - few; {
	case len(w.OneOf) == 1:
		parts = append(parts, w.OneOf[0])
	case more > 0:
		parts = append(parts, "one of "+strings.Join(w.OneOf[:few], ", ")+" and "+count(more, "other"))
	case len(w.OneOf) > 1:
		parts = append(parts, "one of "+strings.Join(w.OneOf, ", "))
	}
	return strings.Join(parts, " + ")
}

const (
	passRole   = "iam:PassRole"
	assumeRole = "sts:AssumeRole"
)

// leads notes where an allowed action can lead. To take on a role is judged by its resources, in ways.
func (r *assessment) leads(a actions.Action, why string) {
	if a.Gains() && a.Name != assumeRole {
		r.gains[why] = append(r.gains[why], a.Name)
	}
	if a.TakesRole() {
		if why == "" {
			why = "works with a role that the caller hands over"
		}
		r.roles[why] = append(r.roles[why], a.Name)
	}
}

// ways returns the ways that the policy opens: what writes rights first, then what runs with a role that the caller may
// pass, then the others. Whether the resources and the conditions of the actions fit together is not looked at, so a way
// may be closed after all; an open one is not left out.
func (r *assessment) ways() []Way {
	out := []Way{}
	for why, names := range r.gains {
		out = append(out, Way{Actions: []string{}, OneOf: names, Why: why})
	}
	if r.can[passRole] {
		for why, names := range r.roles {
			out = append(out, Way{Actions: []string{passRole}, OneOf: names, Why: why})
		}
	}
	if r.can[assumeRole] {
		for i, s := range r.e.statements {
			if !s.deny && s.takes(assumeRole) && anyRole(r.p.Statements[i]) {
				out = append(out, Way{Actions: []string{}, OneOf: []string{assumeRole}, Why: "takes on every role that trusts the account"})
				break
			}
		}
	}
	for _, w := range out {
		slices.Sort(w.OneOf)
	}
	slices.SortFunc(out, func(a, b Way) int {
		if x, y := a.rank(), b.rank(); x != y {
			return x - y
		}
		return strings.Compare(a.OneOf[0]+a.Why, b.OneOf[0]+b.Why)
	})
	return out
}

func (w Way) rank() int {
	service, _, _ := strings.Cut(w.OneOf[0], ":")
	switch {
	case len(w.Actions) > 0:
		return 1
	case service == "iam" || service == "sts" || service == "sso" || service == "organizations":
		return 0
	}
	return 2
}

// anyRole tells whether a statement's resources name no single role.
func anyRole(s Statement) bool {
	return len(s.NotResource) > 0 || slices.ContainsFunc(s.Resource, func(r string) bool {
		_, role, ok := strings.Cut(r, ":role")
		return !ok || role == "" || role == "/*" || role == "*"
	})
}
