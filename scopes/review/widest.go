package review

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// ceiling is a scope at its widest parameters.
type ceiling struct {
	AWS   *iam.Policy
	Vault []vaultacl.Rule
}

// widest puts a wildcard where the parameters were.
func widest(c *scopes.Catalog, s *scopes.Scope) ceiling {
	v, r, err := example(c, s)
	if err != nil {
		return ceiling{}
	}
	holes := func(text string) string {
		for _, value := range v {
			text = strings.ReplaceAll(text, value, "*")
		}
		return text
	}
	p := r.Permissions()
	out := ceiling{AWS: p.AWS}
	if p.AWS != nil {
		for i := range out.AWS.Statements {
			st := &out.AWS.Statements[i]
			for j := range st.Resource {
				st.Resource[j] = holes(st.Resource[j])
			}
			for _, keys := range st.Condition {
				for key, values := range keys {
					if slices.ContainsFunc(values, func(x string) bool { return holes(x) != x }) {
						delete(keys, key)
					}
				}
			}
			for op, keys := range st.Condition {
				if len(keys) == 0 {
					delete(st.Condition, op)
				}
			}
		}
		return out
	}
	for _, pol := range VaultPolicy(p).Paths {
		path := strings.ReplaceAll(holes(pol.Path), "/*/", "/+/")
		out.Vault = append(out.Vault, vaultacl.Rule{Path: path, Capabilities: pol.Capabilities})
	}
	return out
}
