package scopes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// maxNamed bounds how many actions an error names.
const maxNamed = 8

// outlives finds what the scope's actions hand out that lives longer than a session, and wants each
// named in the file: nobody gives such a thing away with a wildcard, or unaware of it.
func (c *compiler) outlives() error {
	var patterns []string
	for _, s := range c.doc.Statements {
		patterns = append(patterns, s.Actions...)
	}
	found := actions.OutlivingIn(patterns)
	var missing []string
	for _, o := range found {
		c.scope.outlives = append(c.scope.outlives, o.String())
		if !slices.Contains(c.doc.Outlives, o.Action) {
			missing = append(missing, o.String())
		}
	}
	if len(missing) > 0 {
		more := ""
		if n := len(missing) - maxNamed; n > 0 {
			missing, more = missing[:maxNamed], fmt.Sprintf("; and %d more", n)
		}
		return atf("$.statements", "what an action hands out would outlive every grant: %s%s; leave it out, or name the action in \"outlives\" to have it so",
			strings.Join(missing, "; "), more)
	}
	for _, name := range c.doc.Outlives {
		if !slices.ContainsFunc(found, func(o actions.Outliving) bool { return o.Action == name }) {
			return atf("$.outlives", "outlives: %q is no action of the scope whose answer outlives a session", name)
		}
	}
	return nil
}

// Outlives returns, by action, what the scope's credentials can be used to get that goes on working
// after the grant has ended, and for how long: no deadline and no revocation reaches it. It is of
// AWS; what Vault hands out is held to its real end when it is minted.
func (s *Scope) Outlives() []string { return slices.Clone(s.outlives) }
