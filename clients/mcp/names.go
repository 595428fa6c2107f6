package mcp

import (
	"crypto/rand"
	"regexp"
	"strings"
	"sync"
)

// profilePattern is what an agent may call a profile, which is a section's and
// maybe a file's name too.
var profilePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$`)

// profilePrefix tells these profiles from a user's own.
const profilePrefix = "valetkey-"

// names are what this server's places are called. The zero value is ready.
type names struct {
	mu    sync.Mutex
	taken map[string]bool // locked by mu
}

// take takes the wished name, or where none is one made of scope. free gives it
// back.
func (n *names) take(scope, wish string) (name string, free func(), err error) {
	if wish != "" && !profilePattern.MatchString(wish) {
		return "", nil, refuse(ReasonInvalidArgument, "a profile's name has a-z, 0-9 and -, and 48 characters at most")
	}
	if wish == "" {
		if !profilePattern.MatchString(scope) {
			scope = "scope"
		}
		wish = scope + "-" + strings.ToLower(rand.Text()[:6])
	}
	name = profilePrefix + wish
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken[name] {
		return "", nil, refuse(ReasonInvalidArgument, "another access has the profile %s; choose another name, or none", name)
	}
	if n.taken == nil {
		n.taken = map[string]bool{}
	}
	n.taken[name] = true
	return name, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.taken, name)
	}, nil
}
