package iam

import (
	"slices"

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
			service, ok := s.actions[j].service()
			if !ok {
				return actions.Services()
			}
			if len(out) == 0 || out[len(out)-1] != service {
				out = append(out, service)
			}
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return !actions.HasService(s) })
}
