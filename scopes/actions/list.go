package actions

import (
	"slices"
	"strings"
)

// Services returns the known services, sorted: "s3".
func Services() []string {
	var out []string
	for _, name := range load().sorted {
		service, _, _ := strings.Cut(name, ":")
		if len(out) == 0 || out[len(out)-1] != service {
			out = append(out, service)
		}
	}
	slices.Sort(out) // "s3-object-lambda:" stands before "s3:"
	return out
}

// OfService returns the known actions of a service, sorted by name; none where it is unknown. IAM ignores case.
func OfService(service string) []Action {
	t := load()
	prefix := strings.ToLower(service) + ":"
	from, _ := slices.BinarySearch(t.sorted, prefix)
	var out []Action
	for _, name := range t.sorted[from:] {
		if !strings.HasPrefix(name, prefix) {
			break
		}
		out = append(out, t.byName[name])
	}
	return out
}
