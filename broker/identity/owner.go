package identity

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/spiffepath"
)

// ownerAttribute is the attribute of a path template that names the person whose an
// agent is.
const ownerAttribute = "user"

// Owners returns what names the person whose an agent is, by its SPIFFE ID: the segment
// that the first of the path templates that it fits calls {user}, or nothing. It is nil
// where no template has one.
func Owners(templates []string) (func(agent string) string, error) {
	var parsed []spiffepath.Template
	named := false
	for _, text := range templates {
		t, err := spiffepath.Parse(text)
		if err != nil {
			return nil, err
		}
		named = named || slices.Contains(t.Attributes(), ownerAttribute)
		parsed = append(parsed, t)
	}
	if !named {
		return nil, nil //nolint:nilnil // nobody has an owner, which is no error
	}
	return func(agent string) string {
		id, err := spiffeid.FromString(agent)
		if err != nil {
			return ""
		}
		for _, t := range parsed {
			if attributes, ok := t.Match(id); ok {
				return attributes[ownerAttribute]
			}
		}
		return ""
	}, nil
}
