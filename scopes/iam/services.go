package iam

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// servicesOf returns the services of the catalogue that the Allows may name an action of, sorted: all of them where a
// wildcard stands before the colon.
func servicesOf(statements []statement) []string {
	var out []string
	for i := range statements {
		s := &statements[i]
		if s.deny {
			continue
		}
		if s.notAction {
			return actions.Services()
		}
		for j := range s.actions {
			service, _, ok := strings.Cut(strings.ToLower(s.actions[j].source), ":")
			if !ok || strings.ContainsAny(service, "*?") {
				return actions.Services()
			}
			out = append(out, service)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return len(actions.OfService(s)) == 0 })
}

// takes tells whether the statement's action element has an action.
func (s *statement) takes(action string) bool {
	return (matchAny(s.actions, action, nil) == yes) != s.notAction
}
