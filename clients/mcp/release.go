package mcp

import "context"

// ReleaseIn names an access.
type ReleaseIn struct {
	Access string `json:"access" jsonschema:"the access handle"`
}

// ReleaseOut says that it ended.
type ReleaseOut struct {
	Released bool `json:"released"`
}

func (x *session) release(ctx context.Context, in ReleaseIn) (out ReleaseOut, err error) {
	a, err := x.access(in.Access)
	if err != nil {
		return out, err
	}
	ctx, cancel := x.during(ctx, askFor)
	defer cancel()
	if err := a.release(ctx); err != nil {
		return out, err // the handle is good to try again
	}
	if x.dropAccess(a) {
		a.takeDown()
	}
	return ReleaseOut{Released: true}, nil
}

// release gives the grant back at the broker.
func (a *access) release(ctx context.Context) error {
	a.mu.Lock()
	src := a.src
	a.mu.Unlock()
	if src == nil {
		return nil
	}
	return src.Release(ctx)
}

// takeDown takes the place away; nothing is asked of the broker. Twice is once.
func (a *access) takeDown() {
	a.mu.Lock()
	place, free := a.place, a.free
	a.place, a.free, a.gone = nil, nil, true
	a.mu.Unlock()
	if place != nil {
		_ = place.Close() // sockets and files of ours; the shelf's end takes what stays
	}
	if free != nil {
		free()
	}
}
