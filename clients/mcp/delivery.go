package mcp

import (
	"context"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// Delivery puts a credential where tools look for one. It is safe for concurrent
// use.
type Delivery interface {
	// Deliver has tools of this user find src's credential under name, which is
	// made of [a-z0-9-] and unique in this server, until the place is closed. It
	// may ask src, which has a credential.
	Deliver(ctx context.Context, name string, src *valetkey.Source) (Place, error)
}

// Place is where tools find a credential.
type Place struct {
	// Profile is an AWS profile, and ConfigFile the file that it is in. Both are
	// empty for what is not AWS's.
	Profile, ConfigFile string
	// Env is what a shell sets for its tools. It goes to the agent, and so to a
	// model: no secret may be in it.
	Env map[string]string
	// RunEnv is what run_command sets besides; it may hold secrets.
	RunEnv map[string]string
	// Secrets are the local secrets of this place, to be taken out of what
	// commands print.
	Secrets []string
	// Note tells agents what they would not guess; may be empty.
	Note string
	// Close takes it all away. Nil: nothing to take away.
	Close func()
}
