package mcp

import "context"

// environmentOf is what leads a command to the accesses that it is given.
func (x *session) environmentOf(ctx context.Context, handles []string) (map[string]string, error) {
	env := map[string]string{}
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
		for k, v := range place.Alone {
			if was, twice := env[k]; twice && was != v {
				return nil, refuse(ReasonInvalidArgument, "two of these accesses need %s; give the command one of them", k)
			}
			env[k] = v
		}
		if _, err := src.Credential(ctx); err != nil { // one that lives when the command begins
			return nil, err
		}
	}
	return env, nil
}
