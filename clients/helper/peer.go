package helper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
)

// errNoPeer means that this system does not say whose a connection is.
var errNoPeer = errors.New("this system does not say whose a connection is")

// peers are the users that may ask. The zero value lets nobody in.
type peers struct {
	uids []int
	// must refuses where the system does not say who asks: for addresses that have
	// no other lock.
	must bool
}

// newPeers lets in the named users, or where none is named this process's own.
func newPeers(uids []int, must bool) peers {
	if len(uids) == 0 {
		uids = []int{os.Geteuid()}
	}
	return peers{uids: uids, must: must}
}

// check says why the other end of c may not ask; nil where it may.
func (p peers) check(c net.Conn) error {
	uid, err := peerUID(c)
	switch {
	case errors.Is(err, errNoPeer) && !p.must:
		return nil
	case err != nil:
		return fmt.Errorf("finding out who asks: %w", err)
	case !slices.Contains(p.uids, uid):
		return fmt.Errorf("user %d asks, and may not", uid)
	}
	return nil
}

// visitor is a connection with what was found out about it, once.
type visitor struct {
	once sync.Once
	conn net.Conn
	err  error
}

type visitorKey struct{}

// withVisitor is a http.Server's ConnContext.
func withVisitor(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, visitorKey{}, &visitor{conn: c})
}

// visit checks the connection that ctx is of. The first request of a connection
// pays for it.
func (p peers) visit(ctx context.Context) error {
	v, ok := ctx.Value(visitorKey{}).(*visitor)
	if !ok {
		return errNoPeer
	}
	v.once.Do(func() { v.err = p.check(v.conn) })
	return v.err
}
