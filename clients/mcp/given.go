package mcp

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/valetkey/valetkey/clients/helper/serve"
)

// passed are this process's variables that commands get without being named.
var passed = []string{"PATH", "USER", "LANG", "LC_ALL", "TERM", "TZ", "TMPDIR"}

// environOf is all that a command gets: the accesses that it is given, and none of
// this process's own credentials, its user's, or other sessions'.
func (x *session) environOf(ctx context.Context, handles []string) ([]string, error) {
	var places []*serve.Place
	for _, h := range handles {
		a, err := x.access(h)
		if err != nil {
			return nil, err
		}
		// Looked at again at the broker: a grant may have been revoked since.
		out, err := x.look(ctx, a)
		if err != nil {
			return nil, err
		}
		a.mu.Lock()
		place, src := a.place, a.src
		a.mu.Unlock()
		if out.State != stateReady || place == nil || src == nil {
			return nil, refuse(ReasonNotReady, "access to scope %s is %s", a.scope, out.State)
		}
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
		if _, err := src.Credential(ctx); err != nil { // one that lives when the command begins
			return nil, err
		}
	}
	var base []string
	for _, name := range slices.Concat(passed, x.s.cfg.Run.Environment) {
		if v, ok := os.LookupEnv(name); ok {
			base = append(base, name+"="+v)
		}
	}
	env, err := x.s.cfg.Shelf.Environ(base, places...)
	if errors.Is(err, serve.ErrTwoOfAKind) {
		return nil, refuse(ReasonInvalidArgument, "two of these accesses are of one kind, and tools find one such credential; give the command one of them")
	}
	return env, err
}
